"""Data replication tasks on their source: what is to be copied, and where to (S24)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from holdfast.errors import ConflictError, HoldfastError, InvalidError, Reason, named_in
from holdfast.hooks.filters import MOST_RULES, check_pattern
from holdfast.planning import transfer_windows
from holdfast.services.copies.replica_documents import AgentDocument
from holdfast.services.copies.replicas import AGENT
from holdfast.services.copies.task_documents import ScheduleDocument, TaskDocument
from holdfast.services.copies.transports import Transports
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.shares.shares import Shares
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.store.schedules import ScheduleTimes
from holdfast.store.secrets import Secrets
from holdfast.system.clock import Clock
from holdfast.values import Secret, from_plain, to_plain

AT_ANY_TIME = {
    *("objective_s", "is_enabled", "bandwidth_bytes_s", "windows", "windows_time_zone", "retries", "retry_delay_s"),
}
"""What may be changed while a run is under way; where that copies, it goes on by it."""


def judge(task: TaskDocument) -> None:
    """Raises InvalidError, naming the field, for rules that mean nothing."""
    if len(task.filters) > MOST_RULES:
        text = f"a task has at most {MOST_RULES} filters"
        raise InvalidError(text, reasons=[Reason("bad-value", text, "say more in one pattern", "filters")])
    for rule in task.filters:
        check_pattern(rule.pattern)
    transfer_windows.check(task.windows, task.windows_time_zone)


class Tasks:
    """Makes, changes and deletes tasks."""

    def __init__(
        self,
        kept: Intents[TaskDocument],
        schedules: Intents[ScheduleDocument],
        times: ScheduleTimes,
        secrets: Secrets,
        shares: Shares,
        jobs: Jobs,
        drivers: Drivers,
        clock: Clock,
        transports: Transports,
        agents: Intents[AgentDocument],
    ) -> None:
        self._kept = kept
        self._schedules = schedules
        self._times = times
        self._secrets = secrets
        self._shares = shares
        self._jobs = jobs
        self._drivers = drivers
        self._clock = clock
        self._transports = transports
        self._agents = agents
        jobs.define(JobDefinition("replication-task.create", (Step("record", self._record, self._forget),)))
        jobs.define(JobDefinition("replication-task.change", (Step("record", self._change),)))
        jobs.define(JobDefinition("replication-task.delete", (Step("forget", self._forget),)))

    async def create(self, task: TaskDocument, password: Secret, *, validate_only: bool) -> str | None:
        """Make a task; `task.password` is set here, from `password`."""
        judge(task)

        async def check() -> None:
            if await self._kept.find(task.name) is not None:
                raise ConflictError(f"there is a replication task {task.name}")
            with named_in("share"):
                await self._shares.get(task.share)
            self._drivers.copy()
            await self._refuse_if_unknown(task)

        if validate_only:
            await check()
            return None
        reference = await self._secrets.put(password)
        since = self._clock.now().isoformat()
        parameters = to_plain(replace(task, password=reference, objective_since=since))
        try:
            target, locks = f"replication-task:{task.name}", [f"share:{task.share}", plan_lock(task.name)]
            return await self._jobs.start("replication-task.create", target, parameters, locks=locks, check=check)
        except HoldfastError:
            await self._secrets.forget(reference)
            raise

    async def change(
        self, name: str, changes: Mapping[str, Any], password: Secret | None, *, validate_only: bool
    ) -> str | None:
        """Change what is given. What a run under way goes by stays until it is over (BusyError), see AT_ANY_TIME."""
        judge(replace(await self._kept.get(name), **changes))
        locks = [] if changes.keys() <= AT_ANY_TIME and password is None else [f"replication-task:{name}"]

        async def check() -> None:
            task = replace(await self._kept.get(name), **changes)
            judge(task)
            if changes.keys() & {"transport", "certificate", "agent_address"}:
                await self._refuse_if_unknown(task)

        if validate_only:
            self._jobs.locks.refuse_if_held([plan_lock(name), *locks])
            await check()
            return None
        reference = await self._secrets.put(password) if password is not None else None
        parameters = {"name": name, "changes": to_plain(changes), "password": reference}
        try:
            kind, target = "replication-task.change", plan_lock(name)
            return await self._jobs.start(kind, target, parameters, locks=locks, check=check)
        except HoldfastError:
            if reference is not None:
                await self._secrets.forget(reference)
            raise

    async def _refuse_if_unknown(self, task: TaskDocument) -> None:
        agent = await self._agents.find(AGENT)
        is_of_this_node = agent is not None and agent.document.address == task.agent_address
        await self._transports.refuse_if_unknown(task.transport, task.certificate, is_of_this_node=is_of_this_node)

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Remove a task, with its schedules. Its copies and its log stay."""
        await self._kept.get(name)
        if validate_only:
            return None
        target = f"replication-task:{name}"
        return await self._jobs.start("replication-task.delete", target, {"name": name}, locks=[plan_lock(name)])

    # --- steps ---

    async def _record(self, job: JobContext) -> None:
        given = {key: value for key, value in job.parameters.items() if not key.startswith("_")}
        task = from_plain(TaskDocument, given)
        await self._kept.put(task.name, task)
        job.result = {key: value for key, value in given.items() if key != "password"}

    async def _change(self, job: JobContext) -> None:
        name, given, reference = (job.parameters[key] for key in ("name", "changes", "password"))
        before = await self._kept.get(name)
        task = from_plain(TaskDocument, {**to_plain(before), **given})
        if "objective_s" in given:
            task = replace(task, objective_since=self._clock.now().isoformat())
        if reference is not None:
            task = replace(task, password=reference)
        await self._kept.put(name, task)
        if reference is not None and before.password != reference:
            await self._secrets.forget(before.password)
        job.result = {"name": name, **given}

    async def _forget(self, job: JobContext) -> None:
        name = job.parameters["name"]
        for key, schedule in (await self._schedules.all()).items():
            if schedule.task == name:
                await self._schedules.remove(key)
                await self._times.forget(name, schedule.name)
        kept = await self._kept.find(name)
        if kept is not None:
            await self._kept.remove(name)
            await self._secrets.forget(kept.document.password)


def plan_lock(task: str) -> str:
    """Of when a task runs and how old its copy may be: not that of the task, which a run holds for days."""
    return f"replication-plan:{task}"
