"""Restoring from a copy, on the node that has it: previewed or done, to a share here, of the partner or elsewhere.

A restore: freeze the copy → mount it read-only → open what is restored to → write → verify → close, unmount, thaw.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import ConflictError, HoldfastError, InvalidError, Reason, VerificationError, named_in
from holdfast.hooks.copy_restore import RestorePreview, RestoreRun
from holdfast.hooks.copying import CopyOptions
from holdfast.hooks.replication import CopyProgress, CopyRun
from holdfast.planning.sampling import sample_paths
from holdfast.services.copies.frozen import FrozenCopies, Place
from holdfast.services.copies.restore_openings import RestoreOpenings, WayIn
from holdfast.services.copies.transports import AgentAt, Transports
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink
from holdfast.services.shares.shares import Shares
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.secrets import Secrets
from holdfast.system import below
from holdfast.values import Secret, from_plain, to_plain

SAMPLED_FILES = 100
LONGEST_RESTORE_S = 7 * 24 * 3600.0
SHOWN_DIFFERENCES = 5


@dataclass(frozen=True)
class Target:
    """Where a copy is restored to: `share` of this node, or of the partner; or, without one, what `agent` offers."""

    share: str | None = None
    is_on_partner: bool = False
    agent: AgentAt | None = None
    replica_share: str | None = None
    user: str | None = None

    @property
    def name(self) -> str:
        """What is written to, as it is to be confirmed."""
        return self.share or self.replica_share or ""


@dataclass(frozen=True)
class RestoreWanted:
    """What is to be restored, and where to."""

    replica: str
    target: Target
    paths: tuple[str, ...] = ()
    """All of it if empty."""
    snapshot: str | None = None
    """Of the copy's volume; None: the copy as it is now."""
    into: str = ""
    deletes: bool = False
    options: CopyOptions = field(default_factory=CopyOptions)
    """What they leave out is left alone where it is."""


class Restores:
    """Previews restores, and makes them."""

    def __init__(
        self,
        frozen: FrozenCopies,
        openings: RestoreOpenings,
        shares: Shares,
        secrets: Secrets,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        transports: Transports,
        *,
        node: str,
    ) -> None:
        self._frozen = frozen
        self._openings = openings
        self._shares = shares
        self._secrets = secrets
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._transports = transports
        self._node = node
        jobs.define(self._definition("replica-share.restore", Step("write", self.write), Step("verify", self.verify)))
        jobs.define(self._definition("replica-share.preview-restore", Step("preview", self._preview)))

    def _definition(self, kind: str, *steps: Step) -> JobDefinition:
        last = Step("forget the password", self._forget_password)
        first = Step("begin", _nothing, self._forget_password)
        return JobDefinition(kind, (first, *self.around(*steps), last), deadline_s=LONGEST_RESTORE_S)

    def around(self, *steps: Step) -> tuple[Step, ...]:
        """Steps with all that comes before and after them, for a job with the parameters that `start` gives."""
        return (
            Step("freeze the copy", self._frozen.freeze, self._frozen.thaw),
            Step("mount it", self._frozen.mount, self._frozen.unmount),
            Step("open the target", self._open, self._close),
            *steps,
            Step("close the target", self._close),
            Step("unmount", self._frozen.unmount),
            Step("thaw", self._frozen.thaw),
        )

    async def start(
        self, wanted: RestoreWanted, password: Secret | None, *, is_preview: bool, validate_only: bool
    ) -> str | None:
        """Start a restore or its preview; the job's id, or None where only the checks were wanted."""
        place = await self._frozen.place(wanted.replica)
        paths = tuple(below.normal(path, field="paths") for path in wanted.paths)

        async def check() -> None:
            self._drivers.copy()
            await self._shares.directory(place.share.name)
            if wanted.snapshot is not None:
                await self._frozen.kept(place, wanted.snapshot)
            await self._check_target(place, wanted)

        if validate_only:
            await check()
            return None
        reference = None if password is None else await self._secrets.put(password)
        parameters = self.parameters(wanted, place, paths, reference)
        kind = "replica-share.preview-restore" if is_preview else "replica-share.restore"
        try:
            target, locks = f"replica-share:{wanted.replica}", self.locks(wanted, place)
            return await self._jobs.start(kind, target, parameters, locks=locks, check=check)
        except HoldfastError:
            if reference is not None:
                await self._secrets.forget(reference)
            raise

    def parameters(
        self, wanted: RestoreWanted, place: Place, paths: Sequence[str], reference: str | None
    ) -> dict[str, Any]:
        """Of a job whose steps are made by `around`."""
        return {
            "replica": wanted.replica,
            "volume": place.share.volume,
            "snapshot": wanted.snapshot,
            "paths": list(paths),
            "into": wanted.into,
            "deletes": wanted.deletes,
            "target": to_plain(wanted.target),
            "options": to_plain(wanted.options),
            "password": reference,
        }

    def locks(self, wanted: RestoreWanted, place: Place) -> list[str]:
        """What such a job holds."""
        locks = [f"share:{place.share.name}", f"volume:{place.share.volume}"]
        if wanted.target.share is not None and not wanted.target.is_on_partner:
            locks.append(f"share:{wanted.target.share}")
        return locks

    async def _check_target(self, place: Place, wanted: RestoreWanted) -> None:
        target = wanted.target
        if target.agent is not None:
            at = target.agent
            await self._transports.refuse_if_unknown(at.transport, at.certificate, is_of_this_node=False)
            return
        if target.is_on_partner:
            await self._partner.call("restore.agent", {"share": target.share})
            return
        assert target.share is not None
        await self._openings.agent(target.share)
        with named_in("share"):
            await self._shares.directory(target.share)
        if target.share == place.share.name:
            text = f"the share {target.share} is the copy itself, which the next run makes equal to its source again"
            remedy = "restore to another share, or to the source"
            raise InvalidError(text, reasons=[Reason("is-the-copy", text, remedy, "share")])

    # --- steps ---

    def _opening(self, job: JobContext) -> str:
        return f"restore-{job.job_id[:12]}"

    async def _open(self, job: JobContext) -> None:
        await self._way_in(job)

    async def _way_in(self, job: JobContext) -> WayIn:
        """Open the target, or find it open; its password is nowhere on this node but in memory."""
        target, name = job.parameters["target"], self._opening(job)
        if target["share"] is None:
            agent = from_plain(AgentAt, target["agent"])
            password = await self._secrets.get(job.parameters["password"])
            return WayIn(agent, target["replica_share"], target["user"], password)
        if not target["is_on_partner"]:
            source = source_address(await self._openings.agent())
            return await self._openings.open(target["share"], name, source=source, node=self._node)
        told = await self._partner.call("restore.agent", {})
        source = source_address(from_plain(AgentAt, told))
        body = {"share": target["share"], "name": name, "source": source, "node": self._node}
        way = await self._partner.call("restore.open", body, job_id=job.job_id)
        return WayIn(from_plain(AgentAt, way["agent"]), name, way["user"], Secret(way["password"]))

    async def _close(self, job: JobContext) -> None:
        target, name = job.parameters["target"], self._opening(job)
        if target["share"] is None:
            return
        if target["is_on_partner"]:
            await self._partner.release("restore.close", {"name": name}, job_id=job.job_id)
        else:
            await self._openings.close(name)

    async def run_of(self, job: JobContext, **other: Any) -> RestoreRun:
        """The restore as a driver takes it."""
        way, given = await self._way_in(job), job.parameters
        agent = await self._transports.reach(way.agent)
        options = from_plain(CopyOptions, given["options"])
        run = CopyRun(str(await self._frozen.root(job)), agent, way.replica, way.user, way.password, options)
        paths: tuple[str, ...] = tuple(given["paths"])
        return RestoreRun(run, **{"paths": paths, "into": given["into"], "deletes": given["deletes"], **other})

    async def write(self, job: JobContext) -> None:
        """Write what is restored."""
        await self._frozen.mount(job)
        restore, newest = await self.run_of(job), list[CopyProgress]()
        telling = asyncio.create_task(_tell_progress(job, newest))
        try:
            result = await self._drivers.copy().restore(restore, newest.append)
        finally:
            telling.cancel()
        await self._frozen.intact(job)
        job.facts["counts"] = to_plain(result)

    async def verify(self, job: JobContext) -> None:
        """Nothing is left to be done, by the metadata of all and the checksums of some of what was restored."""
        await self._frozen.mount(job)
        left = [await self._drivers.copy().preview_restore(await self.run_of(job))]
        sample = await asyncio.to_thread(self._sample, await self._frozen.root(job), job)
        if sample:
            checked = await self.run_of(job, paths=sample, deletes=False, by_content=True)
            left.append(await self._drivers.copy().preview_restore(checked))
        await self._frozen.intact(job)
        refuse_difference(left)
        job.result = {
            "counts": job.facts["counts"],
            "files_verified": len(sample),
            "verified_copy_of": job.facts.get("verified_copy_of"),
        }
        await job.log(f"verified: all metadata, and {len(sample)} files by checksum")

    def _sample(self, root: Any, job: JobContext) -> tuple[str, ...]:
        tops = job.parameters["paths"] or [""]
        return sample_paths(below.files(root, tops), most=SAMPLED_FILES, seed=job.job_id)

    async def _preview(self, job: JobContext) -> None:
        await self._frozen.mount(job)
        told = await self._drivers.copy().preview_restore(await self.run_of(job))
        await self._frozen.intact(job)
        job.result = {**to_plain(told), "verified_copy_of": job.facts.get("verified_copy_of")}

    async def _forget_password(self, job: JobContext) -> None:
        if job.parameters["password"] is not None:
            await self._secrets.forget(job.parameters["password"])


async def _nothing(job: JobContext) -> None:
    return


def refuse_difference(left: Sequence[RestorePreview]) -> None:
    """Raise VerificationError where a restore would still have something to do."""
    changes = [change for preview in left for change in preview.changes]
    if changes:
        shown = "; ".join(f"{change.path} would be {change.effect}" for change in changes[:SHOWN_DIFFERENCES])
        raise VerificationError(f"what was restored differs from the copy in {len(changes)} places: {shown}")


def source_address(agent: AgentAt) -> str:
    """The address of this node from which it reaches an agent, as the kernel's routes have it; nothing is sent."""
    family = socket.AF_INET6 if ":" in agent.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((agent.address, agent.port))
        except OSError as reason:
            text = f"no route leads from this node to the agent at {agent.address}: {reason.strerror}"
            raise ConflictError(text, reasons=[Reason("no-route", text, "look at the links of both nodes")]) from reason
        return str(probe.getsockname()[0])


async def _tell_progress(job: JobContext, newest: list[CopyProgress]) -> None:
    while True:
        await asyncio.sleep(1)
        if newest:
            await job.progress(newest[-1].percent, newest[-1].text)
            del newest[:]
