"""Which end of a task has the newer data: taking over on the destination, and failing back to the source.

Both ends keep the direction (`planning.copy_direction`). A destination that took over accepts nothing from its source:
its agent does not offer the replica share. A source that knows of it runs nothing. One that does not is kept out all
the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from holdfast.errors import BusyError, ConflictError, HoldfastError, NotFoundError, Reason, RefusedError
from holdfast.hooks.copy_restore import RestoreRun
from holdfast.hooks.copying import CopyOptions, FilterRule
from holdfast.planning.copy_direction import Direction, adopted, refuse_to_fail_back, refuse_to_send, turned
from holdfast.services.copies.ages import ReplicaCopy
from holdfast.services.copies.frozen import FrozenCopies
from holdfast.services.copies.replica_documents import ReplicaShareDocument
from holdfast.services.copies.replicas import Replicas
from holdfast.services.copies.restores import LONGEST_RESTORE_S, Restores, RestoreWanted, Target
from holdfast.services.copies.task_documents import TaskDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.shares.shares import Shares
from holdfast.services.shares.snapshots import ShareSnapshots
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.values import from_plain, to_plain


@dataclass(frozen=True)
class DirectionDocument:
    """Of a task, on its source, or of a replica share, on its destination."""

    of: str
    """`replication-task:NAME` or `replica-share:NAME`."""
    uuid: str
    """Of the task or the replica share: one of the same name that is made later begins anew."""
    direction: Direction


@dataclass(frozen=True)
class Source:
    """Where a copy comes from, as its source told; `share` is known once the source was asked."""

    task: str
    node: str


class Directions:
    """Turns the direction of tasks."""

    def __init__(
        self,
        kept: Intents[DirectionDocument],
        tasks: Intents[TaskDocument],
        replica_documents: Intents[ReplicaShareDocument],
        copies: Intents[ReplicaCopy],
        replicas: Replicas,
        restores: Restores,
        frozen: FrozenCopies,
        shares: Shares,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        events: Events,
        shown: ShareSnapshots,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._tasks = tasks
        self._replica_documents = replica_documents
        self._copies = copies
        self._replicas = replicas
        self._restores = restores
        self._frozen = frozen
        self._shares = shares
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._events = events
        self._shown = shown
        self._node = node
        replicas.close_where(self.is_closed)
        take_over = (Step("turn the direction", self._turn_here), Step("tell the source", self._tell_source))
        jobs.define(JobDefinition("replica-share.take-over", take_over))
        copying = (Step("write", restores.write), Step("verify", restores.verify), Step("look again", self._look_again))
        jobs.define(
            JobDefinition(
                "replica-share.fail-back",
                (
                    Step("turn the source", self._turn_source),
                    *restores.around(*copying),
                    Step("hand over there", self._hand_over_there, is_final=True),
                    Step("hand over here", self._hand_over_here),
                ),
                deadline_s=LONGEST_RESTORE_S,
            )
        )

    def handlers(self) -> dict[str, PeerHandler]:
        """What the partner may ask."""
        return {"direction.adopt": self._on_adopt, "direction.show": self._on_show}

    # --- reading ---

    async def of_replica(self, name: str) -> Direction:
        """The direction as this destination has it."""
        return await self._read("replica-share", self._replica_documents, name)

    async def of_task(self, name: str) -> Direction:
        """The direction as this source has it."""
        return await self._read("replication-task", self._tasks, name)

    async def _read(self, noun: str, documents: Intents[Any], name: str) -> Direction:
        kept, subject = await self._kept.find(f"{noun}:{name}"), await documents.find(name)
        if kept is None or subject is None or kept.document.uuid != subject.uuid:
            return Direction()
        return kept.document.direction

    async def _keep(self, noun: str, documents: Intents[Any], name: str, direction: Direction) -> None:
        subject, key = await documents.find(name), f"{noun}:{name}"
        if subject is None:
            raise NotFoundError(f"there is no {noun} {name!r}")
        await self._kept.put(key, DirectionDocument(key, subject.uuid, direction))

    async def is_closed(self, replica: str) -> bool:
        """Whether a replica share takes nothing from its source."""
        return (await self.of_replica(replica)).is_reversed

    async def refuse_run(self, task: str, share: str) -> None:
        """Raise ConflictError where a task must not copy, because its destination has the newer data."""
        refuse_to_send(task, await self.of_task(task))

    # --- taking over ---

    async def take_over(self, replica: str, *, validate_only: bool) -> str | None:
        """Take no copies any more: the data is used, and changed, here from now on."""
        place = await self._frozen.place(replica)

        async def check() -> None:
            await self._shares.directory(place.share.name)

        if validate_only:
            await check()
            return None
        locks = [f"share:{place.share.name}"]
        return await self._jobs.start(
            "replica-share.take-over", f"replica-share:{replica}", {"replica": replica}, locks=locks, check=check
        )

    async def _turn_here(self, job: JobContext) -> None:
        replica = job.parameters["replica"]
        wanted = turned(await self.of_replica(replica), is_reversed=True)
        try:
            # Whoever copies now must be through first; nobody begins before the agent has left the share out.
            async with self._drivers.copy().hold(replica):
                await self._turn(replica, wanted)
        except NotFoundError:  # no agent runs, or it has left it out already
            await self._turn(replica, wanted)
        job.result = {"replica": replica, "generation": wanted.generation, "is_reversed": True}

    async def _turn(self, replica: str, wanted: Direction) -> None:
        await self._keep("replica-share", self._replica_documents, replica, wanted)
        # Clients write only while no source does.
        if not wanted.is_reversed:
            await self._replicas.hold_clients(replica)
        await self._replicas.apply()
        if wanted.is_reversed:
            await self._replicas.hold_clients(replica)

    async def _tell_source(self, job: JobContext) -> None:
        """A source that cannot be told is kept out all the same, and told when it is failed back to."""
        try:
            await self._tell(job, await self.of_replica(job.parameters["replica"]))
        except HoldfastError as reason:
            await job.log(
                f"the source was not told, and its runs fail because the replica share is closed: {reason.message}"
            )
        body = {"generation": (await self.of_replica(job.parameters["replica"])).generation}
        await self._events.emit("replica-share.took-over", job.target, body)

    async def _source_of(self, replica: str) -> Source:
        found, kept = await self._copies.find(replica), await self._replica_documents.find(replica)
        if found is None or kept is None or found.document.replica_uuid != kept.uuid:
            text = f"no source has told of a verified copy in {replica}, so whose it is is not known"
            raise ConflictError(
                text, reasons=[Reason("no-source", text, "restore from it with a target of your choice")]
            )
        note = found.document.note
        if not self._partner.is_paired or note.source != self._partner.name:
            text = f"the copy in {replica} is of the node {note.source}, which is not this node's partner"
            remedy = "restore from it to what that node's agent offers; the direction is turned between partners only"
            raise ConflictError(text, reasons=[Reason("not-the-partner", text, remedy)])
        return Source(note.task, note.source)

    async def _tell(self, job: JobContext, direction: Direction) -> dict[str, Any]:
        source = await self._source_of(job.parameters["replica"])
        body = {
            "task": source.task,
            "replica": job.parameters["replica"],
            "generation": direction.generation,
            "is_reversed": direction.is_reversed,
            "node": self._node,
        }
        answer: dict[str, Any] = await self._partner.call("direction.adopt", body, job_id=job.job_id)
        return answer

    # --- failing back ---

    async def fail_back(self, replica: str, confirm: str | None, *, returns: bool, validate_only: bool) -> str | None:
        """Make the source equal to what is here, by the differences only; with `returns`, it is the source again."""
        place = await self._frozen.place(replica)
        source = await self._source_of(replica)
        told = await self._partner.call("direction.show", {"task": source.task, "replica": replica})
        # What the task leaves out is not in the copy, and stays as it is on the source.
        share, rules = str(told["share"]), from_plain(tuple[FilterRule, ...], told["filters"])
        there, options = Target(share, is_on_partner=True), CopyOptions(filters=rules)
        wanted = RestoreWanted(replica, there, deletes=True, options=options)

        async def check() -> None:
            refuse_to_fail_back(replica, await self.of_replica(replica))
            await self._shares.directory(place.share.name)
            if confirm != share:
                text = (
                    f"this overwrites the share {share} of {source.node}: what changed there since the last run is lost"
                )
                remedy = f"see what with preview-restore; repeat the call with ?confirm={share}"
                raise RefusedError(text, reasons=[Reason("confirm", text, remedy, "confirm")])
            await self._partner.call("restore.agent", {"share": share})

        if validate_only:
            await check()
            return None
        parameters = {**self._restores.parameters(wanted, place, (), None), "returns": returns}
        target, locks = f"replica-share:{replica}", self._restores.locks(wanted, place)
        return await self._jobs.start("replica-share.fail-back", target, parameters, locks=locks, check=check)

    async def _turn_source(self, job: JobContext) -> None:
        mine = await self.of_replica(job.parameters["replica"])
        refuse_to_fail_back(job.parameters["replica"], mine)
        await self._tell(job, mine)

    async def _look_again(self, job: JobContext) -> None:
        """Before the source becomes the source again: what was written here meanwhile would be lost by its next run."""
        if not job.parameters["returns"]:
            return
        restore = await self._restores.run_of(job)
        place = await self._frozen.place(job.parameters["replica"])
        live = str(await self._shares.directory(place.share.name))
        now = RestoreRun(replace(restore.run, source=live), deletes=True)
        left = await self._drivers.copy().preview_restore(now)
        if not left.is_empty:
            shown = "; ".join(change.path for change in left.changes[:5])
            text = f"what is here was changed while it was copied back: {shown}"
            remedy = "keep everybody from writing here, and fail back once more: it copies what changed"
            raise BusyError(text, reasons=[Reason("changed-meanwhile", text, remedy)])

    async def _hand_over_there(self, job: JobContext) -> None:
        if job.parameters["returns"]:
            mine = await self.of_replica(job.parameters["replica"])
            await self._tell(job, turned(mine, is_reversed=False))

    async def _hand_over_here(self, job: JobContext) -> None:
        replica = job.parameters["replica"]
        if job.parameters["returns"]:
            await self._turn(replica, turned(await self.of_replica(replica), is_reversed=False))
        direction = await self.of_replica(replica)
        job.result = {**(job.result or {}), "generation": direction.generation, "is_reversed": direction.is_reversed}

    # --- for the partner ---

    async def _task_of(self, body: dict[str, Any]) -> TaskDocument:
        task = await self._tasks.get(body["task"])
        if task.replica_share != body["replica"]:
            text = f"the task {task.name} of {self._node} copies to {task.replica_share}, not to {body['replica']}"
            raise ConflictError(text, reasons=[Reason("other-replica", text, "look at the task on that node")])
        return task

    async def _on_show(self, body: dict[str, Any], job_id: str | None) -> Any:
        task = await self._task_of(body)
        return {"share": task.share, "filters": to_plain((*await self._shown.left_out(task.share), *task.filters))}

    async def _on_adopt(self, body: dict[str, Any], job_id: str | None) -> Any:
        task = await self._task_of(body)
        mine = await self.of_task(task.name)
        theirs = adopted(mine, Direction(body["generation"], body["is_reversed"]), other=body["node"])
        if theirs != mine:
            self._jobs.locks.refuse_if_held([f"replication-task:{task.name}"])
            await self._keep("replication-task", self._tasks, task.name, theirs)
            await self._events.emit(
                "replication-task.turned",
                f"replication-task:{task.name}",
                {"generation": theirs.generation, "is_reversed": theirs.is_reversed},
            )
        return {"share": task.share, "filters": to_plain(task.filters)}
