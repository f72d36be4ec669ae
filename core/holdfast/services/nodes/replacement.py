"""A partner that is lost for good: given up by a person's word, and its place taken by another machine of its name.

This node goes on meanwhile as it is: what it serves stays served, alone. The new machine is paired like the first one,
and then made what the lost one was: its side of every mirror, blank and filled by a resync, and every document that
both nodes have. Each step may be repeated, and what the new partner has already stays as it is there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from holdfast.errors import ConflictError, HoldfastError, Reason, RefusedError
from holdfast.hooks.replication import ConnectionState, DiskState, MirrorStatus
from holdfast.planning.node_loss import Copy, Newcomer, Signs, refuse_give_up, refuse_rebuild
from holdfast.services.documents import GroupDocument, MirrorDocument, ReplicationMode, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import Plans
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.mounts import MirrorMounts
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.wanted import with_devices
from holdfast.services.partner import SLOW_S, PartnerLink
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.values import from_plain, to_plain

BEGIN_WITHIN_S = 60.0
POLL_S = 0.2


class Shared(Protocol):
    """A noun whose documents both nodes have."""

    async def hand_over(self, job_id: str) -> Sequence[str]:
        """Have the partner adopt all of them, those that it has included; return what they are, by noun and name."""
        ...


@dataclass(frozen=True)
class Rebuilt:
    """What a new partner was given."""

    mirrors: tuple[str, ...]
    """Those whose side was made there; all of each is sent now."""
    documents: tuple[str, ...]
    to_send_bytes: int


class NodeReplacement:
    """Defines the jobs `pairing.give-up` and `pairing.rebuild`."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        volumes: Intents[VolumeDocument],
        groups: Intents[GroupDocument],
        sides: MirrorSides,
        mounts: MirrorMounts,
        shared: Sequence[Shared],
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        plans: Plans,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._volumes = volumes
        self._groups = groups
        self._sides = sides
        self._mounts = mounts
        self._shared = shared
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._plans = plans
        self._clock = clock
        self._node = node
        self._forsake: Callable[[], Awaitable[None]] | None = None
        give_up = (
            Step("note that the partner is lost", self._note, is_final=True),
            Step("be the source of every mirror", self._be_source),
            Step("mount what only the partner had mounted", self._mount),
        )
        jobs.define(JobDefinition("pairing.give-up", give_up))
        rebuild = (
            Step("make its side of the mirrors", self._make_sides),
            Step("record the mirrors", self._record_sides),
            Step("hand over what both nodes have on record", self._hand_over),
            Step("connect", self._connect),
        )
        jobs.define(JobDefinition("pairing.rebuild", rebuild, deadline_s=None))

    def forsake_by(self, forsake: Callable[[], Awaitable[None]]) -> None:
        """What notes durably that the partner is given up, and serves it no more. Said once, at the start."""
        self._forsake = forsake

    # --- give up ---

    async def give_up(self, *, validate_only: bool) -> str | None:
        """Note that the partner is lost for good. Refused while anything is heard of it."""

        async def check() -> None:
            if reasons := refuse_give_up(await self._signs()):
                raise RefusedError(f"the partner {self._partner.name} cannot be given up", reasons=list(reasons))

        if validate_only:
            await check()
            return None
        return await self._jobs.start("pairing.give-up", "node:partner", {}, check=check)

    async def _signs(self) -> Signs:
        name = self._partner.name
        try:
            await self._partner.call("ping", {})
            answers = True
        except HoldfastError:
            answers = False
        is_running, is_heard = True, False
        if self._drivers.has("failover"):
            monitor = await self._drivers.failover().status()
            is_running, is_heard = monitor.is_running, monitor.peer_heard
        return Signs(name, answers, is_running, is_heard)

    async def _note(self, job: JobContext) -> None:
        assert self._forsake is not None
        await self._forsake()
        await job.log(f"the partner {self._partner.name} is given up as lost; what runs here goes on alone")

    async def _be_source(self, job: JobContext) -> None:
        """What was a destination is the only copy now, and nobody's to overwrite."""
        for document in (await self._kept.all()).values():
            if document.source != self._node:
                turned = replace(document, source=self._node, destination=document.source)
                await self._kept.put(document.name, turned)
            for member in document.members:
                volume = await self._volumes.get(member.on(self._node))
                mode = ReplicationMode.NONE if volume.claimed_for is not None else volume.replication_mode
                mine = replace(volume, made_for=None, claimed_for=None, replication_mode=mode)
                if mine != volume:
                    await self._volumes.put(volume.name, mine)
        await self._plans.write_if_possible()

    async def _mount(self, job: JobContext) -> None:
        grouped = {group.mirror for group in (await self._groups.all()).values()}
        for document in (await self._kept.all()).values():
            if document.name in grouped or not self._mounts.has_files(document):
                continue
            try:
                # The person's word for which a lone mirror's promotion waits while its partner is silent.
                await self._drivers.failover().grant_promotion(document.name, confirm=document.name)
                await self._mounts.enter_mirror(document)
            except HoldfastError as reason:  # one whose data are not whole keeps no other from being mounted
                await job.log(f"the file systems of the mirror {document.name} are not mounted: {reason.message}")

    # --- rebuild ---

    async def rebuild(self, *, validate_only: bool) -> str | None:
        """Make the new partner what the lost one was. Refused with everything that stands against it."""

        async def check() -> None:
            await self._partner.refuse_if_clocks_differ()
            missing, there = await self._missing()
            copies = [await self._copy(document) for document in missing]
            newcomer = Newcomer(
                self._partner.name,
                there["address"],
                there["free_bytes"],
                frozenset(there["ports"]),
                frozenset(there["minors"]),
            )
            if reasons := refuse_rebuild(copies, newcomer):
                text = f"{self._partner.name} cannot be given what the lost node had"
                raise RefusedError(text, reasons=list(reasons))

        if validate_only:
            await check()
            return None
        locks = [f"mirror:{name}" for name in await self._kept.all()]
        return await self._jobs.start("pairing.rebuild", "node:partner", {}, locks=locks, check=check)

    async def _missing(self) -> tuple[list[MirrorDocument], dict[str, Any]]:
        """The mirrors that the partner has not on record, and what it says of itself."""
        there = await self._partner.call("mirror.facts", {})
        return [m for m in (await self._kept.all()).values() if m.name not in there["mirrors"]], there

    async def _copy(self, document: MirrorDocument) -> Copy:
        other = self._partner.name
        if document.other(self._node) != other:
            text = f"the mirror {document.name} is one with {document.other(self._node)}, and the partner is {other}"
            raise ConflictError(text, reasons=[Reason("other-partner", text, "pair with a node of that name")])
        status = await self._sides.status(document.name)
        needed: dict[str, int] = {}
        for member in document.members:
            pool = member.pools[other]
            needed[pool] = needed.get(pool, 0) + member.size_bytes + member.metadata_bytes
        return Copy(
            document.name,
            document.addresses[other],
            document.port,
            tuple(member.minor for member in document.members),
            needed,
            status.is_up and all(volume.disk is DiskState.UP_TO_DATE for volume in status.volumes),
        )

    async def _make_sides(self, job: JobContext) -> None:
        missing, _ = await self._missing()
        made = []
        for document in missing:
            other = self._partner.name
            # A volume that was chosen there went with the lost node: the new one gets the name that it has here.
            members = tuple(
                replace(member, names={node: name for node, name in member.names.items() if node != other})
                for member in document.members
            )
            wanted = replace(document, members=members)
            secret = await self._sides.make_secret(wanted)
            answer = await self._ask(job, "mirror.prepare", wanted, secret=secret)
            wanted = with_devices(wanted, other, answer["devices"], answer["metadata_devices"])
            await self._ask(job, "mirror.attach", wanted)
            made.append(wanted)
            await job.log(f"{other} has a blank side of the mirror {document.name}")
        job.facts["made"] = to_plain(made)

    async def _ask(self, job: JobContext, operation: str, document: MirrorDocument, **more: Any) -> Any:
        body = {"mirror": to_plain(document), **more}
        return await self._partner.call(operation, body, timeout_s=SLOW_S, job_id=job.job_id)

    async def _record_sides(self, job: JobContext) -> None:
        for plain in job.facts["made"]:
            document = from_plain(MirrorDocument, plain)
            await self._kept.put(document.name, document)
        # Also of what it has: one that turned up after all may still think that it is the source.
        for document in (await self._kept.all()).values():
            await self._ask(job, "mirror.adopt", document)
        await self._plans.write_if_possible()

    async def _hand_over(self, job: JobContext) -> None:
        documents: list[str] = []
        for noun in self._shared:
            documents.extend(await noun.hand_over(job.job_id))
        job.facts["documents"] = documents

    async def _connect(self, job: JobContext) -> None:
        started = {group.mirror for group in (await self._groups.all()).values() if group.is_started}
        documents = list((await self._kept.all()).values())
        for document in documents:
            # Those of a started group are connected by the monitors, as soon as they hear each other.
            if document.is_started and document.name not in started:
                await self._ask(job, "mirror.connect", document)
                await self._sides.connect(document)
        deadline_s = self._clock.boot_s() + BEGIN_WITHIN_S
        waits = [document.name for document in documents if document.is_started or document.name in started]
        statuses: list[MirrorStatus] = []
        while True:
            statuses = [await self._sides.status(name) for name in waits]
            apart = [status for status in statuses if status.connection is not ConnectionState.CONNECTED]
            if not apart:
                break
            if self._clock.boot_s() > deadline_s:
                names = ", ".join(f"{status.name} ({status.connection.value})" for status in apart)
                text = f"these mirrors did not connect within {BEGIN_WITHIN_S:.0f} s: {names}"
                remedy = "see their alerts on both nodes; asked again, this goes on where it is"
                raise RefusedError(text, reasons=[Reason("not-connected", text, remedy)])
            await self._clock.sleep(POLL_S)
        left = sum(volume.out_of_sync_bytes for status in statuses for volume in status.volumes)
        made = tuple(str(plain["name"]) for plain in job.facts["made"])
        job.result = Rebuilt(made, tuple(job.facts["documents"]), left)
