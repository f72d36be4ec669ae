"""Changes of a replica share: its limits, who may connect, and a new password without a run that fails.

After a change of the password both are accepted for a time. The partner is told the new one at once, over mutual TLS,
for its tasks that use the old one; another source is told by a person, and until it is it goes on with the old one.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from holdfast.errors import ConflictError, HoldfastError, Reason
from holdfast.services.copies.replica_documents import AgentDocument, ReplicaShareDocument
from holdfast.services.copies.replicas import AGENT, Replicas
from holdfast.services.copies.task_documents import TaskDocument
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.system.clock import Clock
from holdfast.values import Secret, from_plain, to_plain

DEFAULT_GRACE_S = 24 * 3600
LONGEST_GRACE_S = 30 * 24 * 3600
TAKE = "replica-password.take"


class ReplicaChanges:
    """Changes replica shares; on a source it takes the partner's new passwords."""

    def __init__(
        self,
        agents: Intents[AgentDocument],
        kept: Intents[ReplicaShareDocument],
        tasks: Intents[TaskDocument],
        secrets: Secrets,
        replicas: Replicas,
        jobs: Jobs,
        partner: PartnerLink,
        clock: Clock,
    ) -> None:
        self._agents = agents
        self._kept = kept
        self._tasks = tasks
        self._secrets = secrets
        self._replicas = replicas
        self._jobs = jobs
        self._partner = partner
        self._clock = clock
        apply = Step("apply", self._apply)
        jobs.define(JobDefinition("replica-share.change", (Step("record", self._change), apply)))
        rotation = (Step("accept both", self._accept_both), apply, Step("tell the partner", self._tell_partner))
        jobs.define(JobDefinition("replica-share.rotate", rotation))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask."""
        return {TAKE: self._on_take}

    async def change(self, name: str, changes: Mapping[str, Any], *, validate_only: bool) -> str | None:
        """Change limits and who may connect; a copy under way goes on."""

        async def check() -> None:
            await self._kept.get(name)

        await check()
        if validate_only:
            self._jobs.locks.refuse_if_held([f"replica-share:{name}", "agent:agent"])
            return None
        parameters = {"name": name, "changes": to_plain(changes)}
        target = f"replica-share:{name}"
        return await self._jobs.start("replica-share.change", target, parameters, locks=["agent:agent"], check=check)

    async def rotate(self, name: str, password: Secret, grace_s: int, *, validate_only: bool) -> str | None:
        """Give it another password; the one before it is accepted for `grace_s` seconds more, 0 for no more at once."""

        async def check() -> None:
            document = await self._kept.get(name)
            before = await self._secrets.get(document.password)
            if hmac.compare_digest(before.reveal(), password.reveal()):
                text = f"the replica share {name} has this password already"
                raise ConflictError(text, reasons=[Reason("same-password", text, "give another one", "password")])

        await check()
        if validate_only:
            self._jobs.locks.refuse_if_held([f"replica-share:{name}", "agent:agent"])
            return None
        reference = await self._secrets.put(password)
        parameters = {"name": name, "password": reference, "grace_s": grace_s}
        target = f"replica-share:{name}"
        try:
            return await self._jobs.start(
                "replica-share.rotate", target, parameters, locks=["agent:agent"], check=check
            )
        except HoldfastError:
            await self._secrets.forget(reference)
            raise

    # --- steps ---

    async def _apply(self, job: JobContext) -> None:
        await self._replicas.apply()

    async def _change(self, job: JobContext) -> None:
        name, changes = job.parameters["name"], job.parameters["changes"]
        before = to_plain(await self._kept.get(name))
        await self._kept.put(name, from_plain(ReplicaShareDocument, {**before, **changes}))
        job.result = {"name": name, **changes}

    async def _accept_both(self, job: JobContext) -> None:
        name, reference, grace_s = (job.parameters[key] for key in ("name", "password", "grace_s"))
        before = await self._kept.get(name)
        if before.password == reference:
            return
        until = (self._clock.now() + timedelta(seconds=grace_s)).isoformat()
        changed = replace(before, password=reference, former_password=before.password, former_until=until)
        await self._kept.put(name, changed)
        if before.former_password is not None:
            await self._secrets.forget(before.former_password)

    async def _tell_partner(self, job: JobContext) -> None:
        """One that does not answer goes on with the old one as long as that is valid."""
        document = await self._kept.get(job.parameters["name"])
        agent = await self._agents.find(AGENT)
        told = 0
        if agent is not None and document.former_password is not None:
            password = await self._secrets.get(document.password)
            former = await self._secrets.get(document.former_password)
            told = await self._take(document.name, document.user, former, password)
            if self._partner.is_paired:
                body = {"replica_share": document.name, "user": document.user}
                clear = {"former": former.reveal(), "password": password.reveal()}
                try:
                    told += int(await self._partner.call(TAKE, {**body, **clear}, job_id=job.job_id))
                except HoldfastError as reason:
                    await job.log(f"the partner was not told the new password: {reason.message}")
        await job.log(f"the new password was given to {told} tasks; the old one is valid until {document.former_until}")
        job.result = {"name": document.name, "tasks_told": told, "former_until": document.former_until}

    # --- on the source ---

    async def _on_take(self, body: dict[str, Any], job_id: str | None) -> int:
        former, password = Secret(body["former"]), Secret(body["password"])
        return await self._take(str(body["replica_share"]), str(body["user"]), former, password)

    async def _take(self, replica_share: str, user: str, former: Secret, password: Secret) -> int:
        """Give the new password to tasks that have the old one; how many have it now.

        Knowing the old one entitles to it, so the address need not be compared. A run under way goes on: what it
        reads next is the new one, and both are valid.
        """
        told = 0
        for task in (await self._tasks.all()).values():
            if (task.replica_share, task.user) != (replica_share, user):
                continue
            known = (await self._secrets.get(task.password)).reveal()
            if hmac.compare_digest(known, former.reveal()):
                await self._secrets.keep(task.password, password)
                told += 1
            elif hmac.compare_digest(known, password.reveal()):
                told += 1
        return told
