"""The steps that make, change and remove targets, on this node and on the partner."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from holdfast.errors import ConflictError, HoldfastError
from holdfast.hooks.target import TargetState
from holdfast.loading.discovery import PluginHooks
from holdfast.services.documents import InitiatorGroupDocument, TargetDocument
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import Plans
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.targets.credentials import forget, in_the_clear, references, with_own_references
from holdfast.services.targets.targets import Targets, shared
from holdfast.services.volumes.volumes import Volumes
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.values import from_plain, to_plain

SEEN_WITHIN_S = 10.0
LOOK_EVERY_S = 0.1


class TargetJobs:
    """Acts for Targets."""

    def __init__(
        self,
        kept: Intents[TargetDocument],
        initiator_groups: Intents[InitiatorGroupDocument],
        targets: Targets,
        volumes: Volumes,
        secrets: Secrets,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        plans: Plans,
        hooks: PluginHooks,
    ) -> None:
        self._kept = kept
        self._initiator_groups = initiator_groups
        self._targets = targets
        self._volumes = volumes
        self._secrets = secrets
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._plans = plans
        self._hooks = hooks
        create = (
            Step("record on the partner", self._record_partner, self._forget_partner),
            Step("record on this node", self._record_here, self._forget_here),
            Step("serve", self._serve, self._stop_serving),
        )
        change = (
            Step("record on the partner", self._record_partner, self._restore_partner),
            Step("record on this node", self._record_here, self._restore_here),
            Step("serve", self._serve, self._serve_as_before),
            Step("forget what it was", self._forget_before),
        )
        delete = (
            Step("remove on the partner", self._forget_partner, is_final=True),
            Step("remove here", self._delete_here),
        )
        jobs.define(JobDefinition("target.create", create))
        jobs.define(JobDefinition("target.change", change, on_failure=self._forget_new))
        jobs.define(JobDefinition("target.delete", delete))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {"target.adopt": self._on_adopt, "target.forget": self._on_forget}

    # --- one node ---

    async def serve(self, document: TargetDocument) -> None:
        """Have the kernel serve a target that is this node's alone."""
        for unit in document.units:
            await self._volumes.mark_used(unit.volume)
            await self._volumes.refuse_unmounted(unit.volume)
        await self._drivers.target().activate(await self._plans.target(document))

    async def serve_all(self) -> tuple[str, ...]:
        """Serve every target that is this node's alone, as after a boot; return in sentences what could not be."""
        failed = []
        for name in await self._kept.all():
            try:
                await self._jobs.locks.mend(f"target:{name}", partial(self._serve_kept, name))
            except Exception as reason:  # one broken target must not keep the others from being served
                failed.append(f"the target {name} is not served: {reason}")
        return tuple(failed)

    async def _serve_kept(self, name: str) -> None:
        kept = await self._kept.find(name)
        if kept is not None and kept.document.mirror is None:
            await self.serve(kept.document)

    async def adopt(self, document: TargetDocument) -> None:
        """Record a target, and tell the monitor."""
        await self._kept.put(document.name, document)
        await self._plans.write_if_possible()

    async def forget(self, name: str) -> None:
        """Take a target out of this node's kernel and record. Repeatable."""
        kept = await self._kept.find(name)
        if kept is None:
            return
        await self._drivers.target().remove(name, kept.document.iqn)
        await self._kept.remove(name)
        await forget(self._secrets, kept.document.access)
        await self._plans.write_if_possible()

    # --- what the partner asks ---

    async def _on_adopt(self, body: dict[str, Any], job_id: str | None) -> Any:
        document = from_plain(TargetDocument, body["target"])
        kept = await self._kept.find(document.name)
        if kept is not None and not body["is_change"]:
            if shared(kept.document) != shared(document):
                raise ConflictError(f"there is another target {document.name} on this node")
            return  # a repeated call of a job that was killed
        missing = [name for name in document.initiator_groups if await self._initiator_groups.find(name) is None]
        if missing:
            text = f"the other node has no initiator group {', '.join(missing)}: set it again, now that there are two"
            raise ConflictError(text)
        access = [await with_own_references(self._secrets, item, body["secrets"]) for item in document.access]
        await self.adopt(replace(document, access=tuple(access)))
        if kept is not None:
            await forget(self._secrets, kept.document.access)

    async def _on_forget(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self.forget(body["name"])

    # --- steps ---

    def _document(self, job: JobContext) -> TargetDocument:
        return from_plain(TargetDocument, job.parameters["target"])

    def _before(self, job: JobContext) -> TargetDocument:
        return from_plain(TargetDocument, job.parameters["before"])

    async def hand_over(self, job_id: str) -> tuple[str, ...]:
        """Have the partner adopt every target over a mirror; return what they are."""
        targets = [target for target in (await self._kept.all()).values() if target.mirror is not None]
        for target in targets:
            await self._tell_partner(job_id, target, is_change=False)
        return tuple(f"target {target.name}" for target in targets)

    async def _tell_partner(self, job_id: str, document: TargetDocument, *, is_change: bool) -> None:
        if document.mirror is not None:
            secrets = await in_the_clear(self._secrets, document.access)
            body = {"target": to_plain(document), "secrets": secrets, "is_change": is_change}
            await self._partner.call("target.adopt", body, job_id=job_id)

    async def _record_partner(self, job: JobContext) -> None:
        await self._tell_partner(job.job_id, self._document(job), is_change="before" in job.parameters)

    async def _restore_partner(self, job: JobContext) -> None:
        await self._tell_partner(job.job_id, self._before(job), is_change=True)

    async def _forget_partner(self, job: JobContext) -> None:
        name = job.parameters["target"]["name"] if "target" in job.parameters else job.parameters["name"]
        kept = await self._kept.find(name)
        mirror = job.parameters["target"]["mirror"] if "target" in job.parameters else kept and kept.document.mirror
        if mirror is not None:
            await self._partner.release("target.forget", {"name": name}, job_id=job.job_id)

    async def _record_here(self, job: JobContext) -> None:
        await self.adopt(self._document(job))

    async def _restore_here(self, job: JobContext) -> None:
        await self.adopt(self._before(job))

    async def _forget_here(self, job: JobContext) -> None:
        await self.forget(self._document(job).name)

    async def _delete_here(self, job: JobContext) -> None:
        name = job.parameters["name"]
        await self.forget(name)
        await self._hooks.tell("target_changed", target=name, what="deleted")

    async def _serve(self, job: JobContext) -> None:
        document = self._document(job)
        if document.mirror is None:
            await self.serve(document)
        else:
            await self._see_it_taken(job, document)
        what = "changed" if "before" in job.parameters else "created"
        await self._hooks.tell("target_changed", target=document.name, what=what)
        job.result = await self._targets.get(document.name)

    async def _see_it_taken(self, job: JobContext, document: TargetDocument) -> None:
        """The group's monitor takes a change up by itself; say so in the job if it does not."""
        plan = await self._plans.build()
        if plan is None or not any(g.is_started and document.name in g.targets for g in plan.plan.groups):
            return
        for _ in range(int(SEEN_WITHIN_S / LOOK_EVERY_S)):
            try:
                if await self._targets.state(document.name) in (TargetState.ACTIVE, TargetState.STAGED):
                    return
            except HoldfastError:
                pass  # the monitor is at it
            await asyncio.sleep(LOOK_EVERY_S)
        await job.log("the monitor of the group has not taken the change up yet: see the target's identity")

    async def _stop_serving(self, job: JobContext) -> None:
        document = self._document(job)
        await self._drivers.target().remove(document.name, document.iqn)

    async def _serve_as_before(self, job: JobContext) -> None:
        before = self._before(job)
        if before.mirror is None:
            await self._drivers.target().activate(await self._plans.target(before))

    async def _forget_new(self, job: JobContext, reason: HoldfastError) -> None:
        await self._forget_not_in(self._document(job), self._before(job))

    async def _forget_before(self, job: JobContext) -> None:
        await self._forget_not_in(self._before(job), self._document(job))

    async def _forget_not_in(self, old: TargetDocument, new: TargetDocument) -> None:
        for reference in set(references(old.access)) - set(references(new.access)):
            await self._secrets.forget(reference)
