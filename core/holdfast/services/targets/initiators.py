"""Named groups of initiators, the same on both nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holdfast.errors import ConflictError, HoldfastError, InvalidError, Reason
from holdfast.services.dependents import Dependents, refuse_if_used
from holdfast.services.documents import InitiatorGroupDocument
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import Plans
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.targets.credentials import (
    AccessWanted,
    forget,
    in_the_clear,
    keep,
    references,
    with_own_references,
)
from holdfast.services.targets.jobs import TargetJobs
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.values import from_plain, to_plain


@dataclass(frozen=True)
class MemberView:
    """An initiator of a group; passwords are never shown."""

    initiator: str
    chap_user: str | None
    mutual_user: str | None
    cmdsn_depth: int


@dataclass(frozen=True)
class InitiatorGroupView:
    """A group, and the targets that let it in."""

    name: str
    members: tuple[MemberView, ...]
    used_by: tuple[str, ...]


class Initiators:
    """Sets and shows groups of initiators."""

    def __init__(
        self,
        kept: Intents[InitiatorGroupDocument],
        targets: TargetJobs,
        secrets: Secrets,
        jobs: Jobs,
        drivers: Drivers,
        dependents: Dependents,
        partner: PartnerLink,
        plans: Plans,
    ) -> None:
        self._kept = kept
        self._targets = targets
        self._secrets = secrets
        self._jobs = jobs
        self._drivers = drivers
        self._dependents = dependents
        self._partner = partner
        self._plans = plans
        put = (
            Step("record on the partner", self._put_partner, self._put_back_partner),
            Step("record on this node", self._put_here, self._put_back_here),
            Step("let them in", self._apply, self._apply_before),
            Step("forget what it was", self._forget_before),
        )
        delete = (
            Step("remove on the partner", self._delete_partner, is_final=True),
            Step("remove here", self._delete_here),
        )
        jobs.define(JobDefinition("initiator-group.set", put, on_failure=self._forget_new))
        jobs.define(JobDefinition("initiator-group.delete", delete))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {
            "initiator-group.adopt": self._on_adopt,
            "initiator-group.forget": self._on_forget,
        }

    # --- groups ---

    async def list(self) -> tuple[InitiatorGroupView, ...]:
        """All groups, by name."""
        return tuple([await self._view(group) for group in (await self._kept.all()).values()])

    async def get(self, name: str) -> InitiatorGroupView:
        """One group. Raises NotFoundError."""
        return await self._view(await self._kept.get(name))

    async def _view(self, group: InitiatorGroupDocument) -> InitiatorGroupView:
        members = [MemberView(m.initiator, m.chap_user, m.mutual_user, m.cmdsn_depth) for m in group.members]
        used_by = [f"{d.noun}:{d.name}" for d in await self._dependents.of_initiator_group(group.name)]
        return InitiatorGroupView(group.name, tuple(members), tuple(used_by))

    async def create(self, name: str, members: Sequence[AccessWanted], *, validate_only: bool) -> str | None:
        """Name a group of initiators."""

        async def check() -> None:
            if await self._kept.find(name) is not None:
                raise ConflictError(f"there is an initiator group {name}")
            await self._check(members)

        return await self._put(name, members, None, check, validate_only=validate_only)

    async def change(self, name: str, members: Sequence[AccessWanted], *, validate_only: bool) -> str | None:
        """Say anew who is in a group. Targets that let it in follow at once; who stays in it keeps its sessions."""
        before = await self._kept.get(name)
        return await self._put(name, members, before, lambda: self._check(members), validate_only=validate_only)

    async def _check(self, members: Sequence[AccessWanted]) -> None:
        names = [member.initiator for member in members]
        if len(set(names)) != len(names):
            text = "an initiator occurs twice"
            raise InvalidError(text, reasons=[Reason("twice", text, "name each once", "members")])
        if self._partner.is_paired:
            await self._partner.call("ping", {})

    async def _put(
        self,
        name: str,
        members: Sequence[AccessWanted],
        before: InitiatorGroupDocument | None,
        check: Any,
        *,
        validate_only: bool,
    ) -> str | None:
        if validate_only:
            await check()
            return None
        known = {member.initiator: member for member in (before.members if before else ())}
        kept = [await keep(self._secrets, member, known.get(member.initiator)) for member in members]
        group = InitiatorGroupDocument(name, tuple(kept))
        try:
            parameters = {"group": group, "before": before}
            return await self._jobs.start("initiator-group.set", f"initiator-group:{name}", parameters, check=check)
        except HoldfastError:
            await forget(self._secrets, kept)
            raise

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Forget a group. Refused while a target lets it in."""

        async def check() -> None:
            await self._kept.get(name)
            refuse_if_used(f"the initiator group {name}", await self._dependents.of_initiator_group(name))
            if self._partner.is_paired:
                await self._partner.release("ping", {})

        if validate_only:
            await check()
            return None
        return await self._jobs.start("initiator-group.delete", f"initiator-group:{name}", {"name": name}, check=check)

    # --- both nodes ---

    async def _adopt(self, group: InitiatorGroupDocument) -> None:
        await self._kept.put(group.name, group)
        await self._plans.write_if_possible()

    async def _serve_users(self, name: str) -> None:
        """Targets of this node alone are changed at once; those in groups by the monitor, from the plan."""
        failed = await self._targets.serve_all()
        if failed:
            raise HoldfastError("; ".join(failed))

    async def _on_adopt(self, body: dict[str, Any], job_id: str | None) -> Any:
        group = from_plain(InitiatorGroupDocument, body["group"])
        kept = await self._kept.find(group.name)
        members = [await with_own_references(self._secrets, member, body["secrets"]) for member in group.members]
        await self._adopt(replace(group, members=tuple(members)))
        if kept is not None:
            await forget(self._secrets, kept.document.members)
        await self._serve_users(group.name)

    async def _on_forget(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._forget(body["name"])

    async def _forget(self, name: str) -> None:
        kept = await self._kept.find(name)
        if kept is not None:
            refuse_if_used(f"the initiator group {name}", await self._dependents.of_initiator_group(name))
            await self._kept.remove(name)
            await forget(self._secrets, kept.document.members)

    # --- steps ---

    def _group(self, job: JobContext, key: str) -> InitiatorGroupDocument | None:
        plain = job.parameters[key]
        return None if plain is None else from_plain(InitiatorGroupDocument, plain)

    async def hand_over(self, job_id: str) -> tuple[str, ...]:
        """Have the partner adopt every group of initiators; return what they are."""
        groups = (await self._kept.all()).values()
        for group in groups:
            await self._give_to_partner(job_id, group)
        return tuple(f"initiator-group {group.name}" for group in groups)

    async def _give_to_partner(self, job_id: str, group: InitiatorGroupDocument) -> None:
        secrets = await in_the_clear(self._secrets, group.members)
        body = {"group": to_plain(group), "secrets": secrets}
        await self._partner.call("initiator-group.adopt", body, job_id=job_id)

    async def _tell_partner(self, job: JobContext, group: InitiatorGroupDocument | None) -> None:
        if not self._partner.is_paired:
            return
        if group is None:
            await self._partner.call("initiator-group.forget", {"name": job.parameters["group"]["name"]})
            return
        await self._give_to_partner(job.job_id, group)

    async def _put_partner(self, job: JobContext) -> None:
        await self._tell_partner(job, self._group(job, "group"))

    async def _put_back_partner(self, job: JobContext) -> None:
        await self._tell_partner(job, self._group(job, "before"))

    async def _put_here(self, job: JobContext) -> None:
        group = self._group(job, "group")
        assert group is not None
        await self._adopt(group)

    async def _put_back_here(self, job: JobContext) -> None:
        group, before = self._group(job, "group"), self._group(job, "before")
        assert group is not None
        if before is None:
            await self._forget(group.name)
        else:
            await self._adopt(before)

    async def _apply(self, job: JobContext) -> None:
        group = self._group(job, "group")
        assert group is not None
        await self._serve_users(group.name)
        job.result = await self.get(group.name)

    async def _apply_before(self, job: JobContext) -> None:
        """The record is put back next, and the reconciler serves by it."""

    async def _forget_new(self, job: JobContext, reason: HoldfastError) -> None:
        group, before = self._group(job, "group"), self._group(job, "before")
        if group is not None:
            await self._forget_not_in(group, before or InitiatorGroupDocument(group.name, ()))

    async def _forget_before(self, job: JobContext) -> None:
        group, before = self._group(job, "group"), self._group(job, "before")
        if before is not None and group is not None:
            await self._forget_not_in(before, group)

    async def _forget_not_in(self, old: InitiatorGroupDocument, new: InitiatorGroupDocument) -> None:
        for reference in set(references(old.members)) - set(references(new.members)):
            await self._secrets.forget(reference)

    async def _delete_partner(self, job: JobContext) -> None:
        if self._partner.is_paired:
            await self._partner.release("initiator-group.forget", {"name": job.parameters["name"]}, job_id=job.job_id)

    async def _delete_here(self, job: JobContext) -> None:
        await self._forget(job.parameters["name"])
