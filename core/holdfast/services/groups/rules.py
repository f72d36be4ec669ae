"""What a group does by itself: failing back, and drills. Changed while it is served: no monitor knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from holdfast.planning.failback import Failback
from holdfast.planning.schedules import Schedule, check
from holdfast.services.documents import GroupDocument
from holdfast.services.groups.groups import Groups
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain


@dataclass(frozen=True)
class RulesWanted:
    """What is to be different; None stays as it is."""

    failback: Failback | None = None
    failback_after_s: int | None = None
    drill_schedule: Schedule | None = None
    ends_drill_schedule: bool = False


class GroupRules:
    """Defines the job `group.rules`.

    The document keeps its revision: a monitor that had another one than its partner would not stand by meanwhile.
    """

    def __init__(self, groups: Groups, jobs: Jobs, partner: PartnerLink, clock: Clock) -> None:
        self._groups = groups
        self._jobs = jobs
        self._partner = partner
        self._clock = clock
        steps = (
            Step("set on the partner", self._set_partner, self._restore_partner),
            Step("set on this node", self._set_here, self._restore_here),
        )
        jobs.define(JobDefinition("group.rules", steps))

    async def change(self, name: str, wanted: RulesWanted, *, validate_only: bool) -> str | None:
        """Change them on both nodes, of a group that is served or not."""
        before = await self._groups.document(name)
        given: dict[str, Any] = {}
        if wanted.failback is not None:
            given["failback"] = wanted.failback
        if wanted.failback_after_s is not None:
            given["failback_after_s"] = wanted.failback_after_s
        if wanted.drill_schedule is not None:
            check(wanted.drill_schedule)
            given["drill_schedule"] = wanted.drill_schedule
            given["drills_since"] = self._clock.now().isoformat()
        elif wanted.ends_drill_schedule:
            given |= {"drill_schedule": None, "drills_since": None}
        after = replace(before, **given)

        async def ask_partner() -> None:
            await self._partner.call("ping", {})

        if validate_only:
            await ask_partner()
            return None
        parameters: Mapping[str, Any] = {"group": after, "before": before}
        return await self._jobs.start("group.rules", f"group:{name}", parameters, check=ask_partner)

    async def _set(self, job: JobContext, which: str, *, here: bool) -> None:
        """Only the rules: all else may have been changed since the job was asked for."""
        said = from_plain(GroupDocument, job.parameters[which])
        kept = await self._groups.document(said.name)
        document = replace(
            kept,
            failback=said.failback,
            failback_after_s=said.failback_after_s,
            drill_schedule=said.drill_schedule,
            drills_since=said.drills_since,
        )
        if here:
            await self._groups.adopt(document)
            job.result = await self._groups.get(said.name)
        else:
            await self._partner.call("group.adopt", {"group": to_plain(document)}, job_id=job.job_id)

    async def _set_partner(self, job: JobContext) -> None:
        await self._set(job, "group", here=False)

    async def _set_here(self, job: JobContext) -> None:
        await self._set(job, "group", here=True)

    async def _restore_partner(self, job: JobContext) -> None:
        await self._set(job, "before", here=False)

    async def _restore_here(self, job: JobContext) -> None:
        await self._set(job, "before", here=True)
