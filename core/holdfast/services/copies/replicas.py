"""The destination of data replication: the agent, and the shares opened to it (S23)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from holdfast.errors import ConflictError, HoldfastError, NotFoundError, Reason, UnavailableError, named_in
from holdfast.hooks.replication import RemoteReplica, ReplicaShare
from holdfast.planning.write_once import Act
from holdfast.services.copies.replica_documents import AgentDocument, ReplicaShareDocument, Transport
from holdfast.services.copies.transports import Transports
from holdfast.services.dependents import Dependents, refuse_if_used
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.shares.shares import Shares
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.worm.guard import WormGuard
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.system.clock import Clock
from holdfast.values import Secret, from_plain, to_plain

AGENT = "agent"
Offered = Callable[[], Awaitable[Sequence[ReplicaShare]]]
Closed = Callable[[str], Awaitable[bool]]
HoldClients = Callable[[str], Awaitable[None]]


class Replicas:
    """Runs the agent with the replica shares that were asked for."""

    def __init__(
        self,
        agents: Intents[AgentDocument],
        kept: Intents[ReplicaShareDocument],
        secrets: Secrets,
        shares: Shares,
        jobs: Jobs,
        drivers: Drivers,
        dependents: Dependents,
        transports: Transports,
        clock: Clock,
        hold_clients: HoldClients,
        guard: WormGuard,
    ) -> None:
        """`hold_clients` has the clients of a share do no more than they may now: read, while it is a destination."""
        self._agents = agents
        self._kept = kept
        self._secrets = secrets
        self._shares = shares
        self._jobs = jobs
        self._drivers = drivers
        self._dependents = dependents
        self._transports = transports
        self._clock = clock
        self._hold_clients = hold_clients
        self._guard = guard
        self._applying = asyncio.Lock()
        self._also: list[Offered] = []
        self._is_closed: Closed = _never
        apply = Step("apply", self._apply)
        jobs.define(JobDefinition("agent.enable", (Step("record", self._enable, self._disable), apply)))
        jobs.define(JobDefinition("agent.disable", (Step("record", self._disable), apply)))
        # Nobody else writes there from before the first copy to after the last one.
        hold, record = Step("hold clients", self._hold), Step("record", self._record, self._forget)
        jobs.define(JobDefinition("replica-share.create", (record, hold, Step("apply", self._apply, self._apply))))
        jobs.define(JobDefinition("replica-share.delete", (Step("forget", self._forget), apply, hold)))

    def also_offer(self, offered: Offered) -> None:
        """Have the agent offer something besides, as often as it is applied."""
        self._also.append(offered)

    def close_where(self, is_closed: Closed) -> None:
        """Leave out replica shares for which this says so, by their names."""
        self._is_closed = is_closed

    async def hold_clients(self, name: str) -> None:
        """Have the clients of a replica share's share do no more than they may now."""
        await self._hold_clients((await self._kept.get(name)).share)

    async def agent(self) -> tuple[AgentDocument | None, bool]:
        """Where the agent is to listen, or None where it is disabled; and whether it runs."""
        kept = await self._agents.find(AGENT)
        return (kept.document if kept else None), await self._drivers.copy().is_agent_running()

    async def set_agent(self, document: AgentDocument | None, *, validate_only: bool) -> str | None:
        """Enable the agent, or disable it with None."""
        self._drivers.copy()
        if validate_only:
            return None
        if document is None:
            return await self._jobs.start("agent.disable", "agent:agent", {})
        return await self._jobs.start("agent.enable", "agent:agent", vars(document))

    async def browse(
        self, address: str, port: int, transport: Transport, certificate: str | None
    ) -> tuple[RemoteReplica, ...]:
        """The replica shares that an agent offers."""
        agent = await self._transports.agent(address, port, transport, certificate)
        return await self._drivers.copy().browse(agent)

    async def create(self, wanted: ReplicaShareDocument, password: Secret, *, validate_only: bool) -> str | None:
        """Open a share as a destination; `wanted.password` is set here, from `password`."""
        name, share = wanted.name, wanted.share

        async def check() -> None:
            if await self._kept.find(name) is not None:
                raise ConflictError(f"there is a replica share {name}")
            with named_in("share"):
                await self._shares.directory(share)
            volume = (await self._shares.get(share)).volume
            await self._guard.refuse_named(volume, Act.COPY_INTO, "share")
            refuse_if_used(f"the share {share}", await self._dependents.of_share(share))
            if await self._agents.find(AGENT) is None:
                text = "the agent is not enabled on this node"
                raise ConflictError(text, reasons=[Reason("no-agent", text, "enable it with PUT /v1/agent")])

        if validate_only:
            await check()
            return None
        reference = await self._secrets.put(password)
        document = replace(wanted, password=reference)
        try:
            locks = [f"share:{share}", "agent:agent"]
            target = f"replica-share:{name}"
            parameters = to_plain(document)
            return await self._jobs.start("replica-share.create", target, parameters, locks=locks, check=check)
        except HoldfastError:
            await self._secrets.forget(reference)
            raise

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Close a replica share. The copy stays."""
        share = (await self._kept.get(name)).share
        if validate_only:
            return None
        parameters = {"name": name, "share": share}
        return await self._jobs.start(
            "replica-share.delete", f"replica-share:{name}", parameters, locks=["agent:agent", f"share:{share}"]
        )

    async def apply(self) -> None:
        """Make the agent run, or not, with exactly what is asked for; a share that is not there now is left out."""
        async with self._applying:  # one after the other, or one with an older list could come last
            await self._apply_now()

    async def _apply_now(self) -> None:
        kept = await self._agents.find(AGENT)
        if kept is None:
            await self._drivers.copy().stop_agent()
            return
        replicas: list[ReplicaShare] = []
        for offered in self._also:
            replicas.extend(await offered())
        documents = (await self._kept.all()).values()
        for document in documents:
            if await self._is_closed(document.name):
                continue
            with contextlib.suppress(NotFoundError, UnavailableError):
                replicas.append(await self._offered(document))
        where = kept.document
        certificates = {one for document in documents for one in document.source_certificates}
        agent = await self._transports.own_agent(where.address, where.port, where.transport, certificates)
        await self._drivers.copy().start_agent(agent, tuple(replicas))

    async def _offered(self, document: ReplicaShareDocument) -> ReplicaShare:
        former = document.former_password
        is_former_valid = former is not None and str(document.former_until) > self._clock.now().isoformat()
        return ReplicaShare(
            document.name,
            str(await self._shares.directory(document.share)),
            document.user,
            await self._secrets.get(document.password),
            document.allowed_sources,
            former_password=await self._secrets.get(former) if former is not None and is_former_valid else None,
            bandwidth_bytes_s=document.bandwidth_bytes_s,
        )

    # --- steps ---

    async def _enable(self, job: JobContext) -> None:
        given = job.parameters
        transport = Transport(given.get("transport", Transport.PLAIN))
        await self._agents.put(AGENT, AgentDocument(given["address"], given["port"], transport))

    async def _disable(self, job: JobContext) -> None:
        await self._agents.remove(AGENT)

    async def _apply(self, job: JobContext) -> None:
        await self.apply()

    async def _hold(self, job: JobContext) -> None:
        if (share := job.parameters.get("share")) is not None:  # a job of a former version does not know it
            await self._hold_clients(share)

    async def _record(self, job: JobContext) -> None:
        given = {key: value for key, value in job.parameters.items() if not key.startswith("_")}
        document = from_plain(ReplicaShareDocument, given)
        await self._kept.put(document.name, document)
        job.result = {"name": document.name, "share": document.share, "user": document.user}

    async def _forget(self, job: JobContext) -> None:
        kept = await self._kept.find(job.parameters["name"])
        if kept is not None:
            await self._kept.remove(kept.document.name)
            for reference in (kept.document.password, kept.document.former_password):
                if reference is not None:
                    await self._secrets.forget(reference)


async def _never(name: str) -> bool:
    return False
