"""Where a restore is written: shares that take one, for as long as it lasts, through this node's agent.

An opening is a replica share of its own, with a password that is made for one restore and goes to whoever restores,
over mutual TLS or not at all. So a restore is confined to the share as every copy is.
"""

from __future__ import annotations

import secrets as chance
from dataclasses import dataclass
from typing import Any

from holdfast.errors import ConflictError, NotFoundError, Reason, UnavailableError, named_in
from holdfast.hooks.replication import ReplicaShare
from holdfast.planning.write_once import Act
from holdfast.services.copies.replica_documents import AgentDocument
from holdfast.services.copies.replicas import AGENT, Replicas
from holdfast.services.copies.transports import AgentAt, Transports
from holdfast.services.dependents import Dependent, Dependents
from holdfast.services.jobs import Jobs
from holdfast.services.partner import PeerHandler
from holdfast.services.shares.shares import Shares
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.worm.guard import WormGuard
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.system.clock import Clock
from holdfast.values import Secret, to_plain

USER = "restore"
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


@dataclass(frozen=True)
class RestoreOpening:
    """A share that takes a restore now."""

    name: str
    share: str
    password: str
    """A reference into the secrets."""
    source: str
    """The address that it comes from."""
    node: str
    """Who restores."""
    opened_at: str


@dataclass(frozen=True)
class WayIn:
    """How a share that takes a restore is reached."""

    agent: AgentAt
    replica: str
    user: str
    password: Secret


class RestoreOpenings:
    """Opens shares for restores, and closes them."""

    def __init__(
        self,
        kept: Intents[RestoreOpening],
        agents: Intents[AgentDocument],
        secrets: Secrets,
        shares: Shares,
        replicas: Replicas,
        jobs: Jobs,
        dependents: Dependents,
        clock: Clock,
        transports: Transports,
        guard: WormGuard,
        *,
        replication_address: str,
    ) -> None:
        self._kept = kept
        self._guard = guard
        self._agents = agents
        self._secrets = secrets
        self._shares = shares
        self._replicas = replicas
        self._jobs = jobs
        self._clock = clock
        self._transports = transports
        self._replication_address = replication_address
        replicas.also_offer(self._offered)
        dependents.also_of_share(self._of_share)
        jobs.define(JobDefinition("restore-opening.close", (Step("close", self._close_step),)))

    def handlers(self) -> dict[str, PeerHandler]:
        """What the partner may ask."""
        return {
            "restore.agent": self._answer_agent,
            "restore.open": self._answer_open,
            "restore.close": self._answer_close,
        }

    async def list(self) -> tuple[RestoreOpening, ...]:
        """Shares that take a restore now."""
        return tuple((await self._kept.all()).values())

    async def agent(self, share: str | None = None) -> AgentAt:
        """Where this node's agent is reached. Raises ConflictError where it is disabled, or `share` takes nothing."""
        if share is not None:
            with named_in("share"):
                volume = (await self._shares.get(share)).volume
            await self._guard.refuse_named(volume, Act.RESTORE_INTO, "share")
        kept = await self._agents.find(AGENT)
        if kept is None:
            text = "the agent is not enabled on the node that is restored to"
            raise ConflictError(text, reasons=[Reason("no-agent", text, "enable it there with PUT /v1/agent")])
        address = kept.document.address
        if address in WILDCARDS:
            if not self._replication_address:
                text = f"the agent listens on {address}, and which address to use is not known"
                raise ConflictError(text, reasons=[Reason("no-address", text, "enable it on an address of the node")])
            address = self._replication_address
        return AgentAt(address, kept.document.port, kept.document.transport)

    async def open(self, share: str, name: str, *, source: str, node: str) -> WayIn:
        """Open a share to one restore, under `name`; opened already, the same way in again."""
        with named_in("share"):
            await self._shares.directory(share)
        agent = await self.agent(share)
        found = await self._kept.find(name)
        if found is None:
            reference = await self._secrets.put(Secret(chance.token_urlsafe(32)))
            opened_at = self._clock.now().isoformat()
            await self._kept.put(name, RestoreOpening(name, share, reference, source, node, opened_at))
        kept = await self._kept.get(name)
        if kept.share != share or not await self._is_offered(kept):
            raise UnavailableError(f"the share {share} could not be opened for a restore")
        return WayIn(agent, name, USER, await self._secrets.get(kept.password))

    async def _is_offered(self, kept: RestoreOpening) -> bool:
        await self._replicas.apply()
        return kept.name in {share.name for share in await self._offered()}

    async def close(self, name: str) -> None:
        """Take no more of a restore; closed already is success."""
        kept = await self._kept.find(name)
        if kept is not None:
            await self._kept.remove(name)
            await self._replicas.apply()
            await self._secrets.forget(kept.document.password)

    async def _of_share(self, share: str) -> tuple[Dependent, ...]:
        openings = (await self._kept.all()).values()
        return tuple(Dependent("restore-opening", opening.name) for opening in openings if opening.share == share)

    async def refuse_run(self, task: str, share: str) -> None:
        """Raise ConflictError while a share is restored to: it is half one thing and half another."""
        for opening in (await self._kept.all()).values():
            if opening.share == share:
                text = f"the share {share} is being restored to, by {opening.node} since {opening.opened_at}"
                remedy = f"wait for its end; if that node is lost, DELETE /v1/restore-openings/{opening.name}"
                raise ConflictError(text, reasons=[Reason("being-restored", text, remedy)])

    async def close_by_hand(self, name: str, *, validate_only: bool) -> str | None:
        """Close one whose restore will not end by itself; the job's id."""

        async def check() -> None:
            if await self._kept.find(name) is None:
                raise NotFoundError(f"there is no restore opening {name!r}")

        if validate_only:
            await check()
            return None
        return await self._jobs.start("restore-opening.close", f"restore-opening:{name}", {"name": name}, check=check)

    async def _close_step(self, job: JobContext) -> None:
        await self.close(job.parameters["name"])

    async def _offered(self) -> tuple[ReplicaShare, ...]:
        found = []
        for opening in (await self._kept.all()).values():
            try:
                path = str(await self._shares.directory(opening.share))
            except (NotFoundError, UnavailableError):
                continue
            password = await self._secrets.get(opening.password)
            found.append(ReplicaShare(opening.name, path, USER, password, (opening.source,)))
        return tuple(found)

    # --- for the partner ---

    async def _answer_agent(self, body: dict[str, Any], job_id: str | None) -> Any:
        return to_plain(await self.agent(body.get("share")))

    async def _answer_open(self, body: dict[str, Any], job_id: str | None) -> Any:
        if await self._kept.find(body["name"]) is None:
            self._jobs.locks.refuse_if_held([f"share:{body['share']}"])
        way = await self.open(body["share"], body["name"], source=body["source"], node=body["node"])
        return {"agent": to_plain(way.agent), "user": way.user, "password": way.password.reveal()}

    async def _answer_close(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self.close(body["name"])
        return {}
