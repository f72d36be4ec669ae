"""The destination of data replication: the agent, and the shares opened to it (S23)."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from holdfast.errors import ConflictError, HoldfastError, NotFoundError, Reason, UnavailableError, named_in
from holdfast.hooks.replication import AgentSpec, RemoteReplica, ReplicaShare
from holdfast.services.dependents import Dependents, refuse_if_used
from holdfast.services.documents import AgentDocument, ReplicaShareDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.shares import Shares
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.values import Secret

AGENT = "agent"


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
    ) -> None:
        self._agents = agents
        self._kept = kept
        self._secrets = secrets
        self._shares = shares
        self._jobs = jobs
        self._drivers = drivers
        self._dependents = dependents
        self._applying = asyncio.Lock()
        apply = Step("apply", self._apply)
        jobs.define(JobDefinition("agent.enable", (Step("record", self._enable, self._disable), apply)))
        jobs.define(JobDefinition("agent.disable", (Step("record", self._disable), apply)))
        create = (Step("record", self._record, self._forget), Step("apply", self._apply, self._apply))
        jobs.define(JobDefinition("replica-share.create", create))
        jobs.define(JobDefinition("replica-share.delete", (Step("forget", self._forget), apply)))

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

    async def browse(self, agent: AgentSpec) -> tuple[RemoteReplica, ...]:
        """The replica shares that an agent offers."""
        return await self._drivers.copy().browse(agent)

    async def list(self) -> tuple[ReplicaShareDocument, ...]:
        """All replica shares, by name."""
        return tuple((await self._kept.all()).values())

    async def get(self, name: str) -> ReplicaShareDocument:
        """One replica share. Raises NotFoundError."""
        return await self._kept.get(name)

    async def create(self, wanted: ReplicaShareDocument, password: Secret, *, validate_only: bool) -> str | None:
        """Open a share as a destination; `wanted.password` is set here, from `password`."""
        name, share = wanted.name, wanted.share

        async def check() -> None:
            if await self._kept.find(name) is not None:
                raise ConflictError(f"there is a replica share {name}")
            with named_in("share"):
                await self._shares.directory(share)
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
            return await self._jobs.start("replica-share.create", target, vars(document), locks=locks, check=check)
        except HoldfastError:
            await self._secrets.forget(reference)
            raise

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Close a replica share. The copy stays."""
        await self._kept.get(name)
        if validate_only:
            return None
        return await self._jobs.start(
            "replica-share.delete", f"replica-share:{name}", {"name": name}, locks=["agent:agent"]
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
        replicas = []
        for document in (await self._kept.all()).values():
            with contextlib.suppress(NotFoundError, UnavailableError):
                replicas.append(
                    ReplicaShare(
                        document.name,
                        str(await self._shares.directory(document.share)),
                        document.user,
                        await self._secrets.get(document.password),
                        document.allowed_sources,
                    )
                )
        agent = AgentSpec(kept.document.address, kept.document.port)
        await self._drivers.copy().start_agent(agent, tuple(replicas))

    # --- steps ---

    async def _enable(self, job: JobContext) -> None:
        await self._agents.put(AGENT, AgentDocument(job.parameters["address"], job.parameters["port"]))

    async def _disable(self, job: JobContext) -> None:
        await self._agents.remove(AGENT)

    async def _apply(self, job: JobContext) -> None:
        await self.apply()

    async def _record(self, job: JobContext) -> None:
        given = job.parameters
        document = ReplicaShareDocument(
            given["name"], given["share"], given["user"], given["password"], tuple(given["allowed_sources"])
        )
        await self._kept.put(document.name, document)
        job.result = {"name": document.name, "share": document.share, "user": document.user}

    async def _forget(self, job: JobContext) -> None:
        kept = await self._kept.find(job.parameters["name"])
        if kept is not None:
            await self._kept.remove(kept.document.name)
            await self._secrets.forget(kept.document.password)
