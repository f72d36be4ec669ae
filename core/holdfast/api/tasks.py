"""`/v1/replication-tasks` and `/v1/replication-runs`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema

from holdfast.api.fields import Address, Name, NoFields, Port, SecretText, User
from holdfast.api.jobs import next_token, page_of
from holdfast.api.replicas import DEFAULT_PORT
from holdfast.api.routes import Call, ChangeQuery, Page, PageQuery, Route, Started
from holdfast.services.documents import TaskDocument
from holdfast.services.tasks import Tasks
from holdfast.store.runs import Run
from holdfast.values import to_plain


class TaskSchema(Schema):
    """A data replication task to make on its source."""

    name = Name(required=True)
    share = Name(required=True)
    agent_address = Address(required=True)
    agent_port = Port(load_default=DEFAULT_PORT)
    replica_share = Name(required=True)
    user = User(required=True)
    password = SecretText(required=True)


class RunQuery(PageQuery):
    """Which runs."""

    task = Name()


def _shown(task: TaskDocument) -> dict[str, Any]:
    return {key: value for key, value in to_plain(task).items() if key != "password"}


def log_lines(run: Run) -> list[dict[str, Any]]:
    """A run as the reference product's log has it (S26): time, task name, type, result, action; newest first."""
    common = {"id": run.id, "task": run.task, "type": "data replication", "job": run.job_id}
    started = {**common, "at": run.started_at, "action": "started", "result": None, "reason": None, "counts": None}
    if run.ended_at is None:
        return [started]
    ended = {"at": run.ended_at, "action": "finished", "result": run.result, "reason": run.reason}
    return [{**common, **ended, "counts": run.counts}, started]


def routes(tasks: Tasks) -> tuple[Route, ...]:
    """The routes of these nouns."""

    async def show_all(call: Call) -> Page:
        return Page([_shown(task) for task in await tasks.list()])

    async def show(call: Call) -> Any:
        return _shown(await tasks.get(call.path["name"]))

    async def create(call: Call) -> Started:
        body = dict(call.body)
        password = body.pop("password")
        return Started(
            await tasks.create(TaskDocument(**body, password=""), password, validate_only=call.validate_only)
        )

    async def delete(call: Call) -> Started:
        return Started(await tasks.delete(call.path["name"], validate_only=call.validate_only))

    async def run(call: Call) -> Started:
        return Started(await tasks.run(call.path["name"], validate_only=call.validate_only))

    async def runs(call: Call) -> Page:
        before, most = page_of(call)
        found = await tasks.runs(call.query.get("task"), before=before, most=most)
        return Page([line for item in found for line in log_lines(item)], next_token([r.id for r in found], most))

    many, one = "/v1/replication-tasks", "/v1/replication-tasks/{name}"
    return (
        Route("GET", many, "Data replication tasks, by name.", show_all),
        Route("POST", many, "Make a task.", create, body=TaskSchema, query=ChangeQuery, changes=True),
        Route("GET", one, "One task.", show),
        Route("DELETE", one, "Remove a task; its copies stay.", delete, query=ChangeQuery, changes=True),
        Route("POST", f"{one}/run", "Copy now.", run, body=NoFields, query=ChangeQuery, changes=True),
        Route("GET", "/v1/replication-runs", "The log of runs, newest first.", runs, query=RunQuery),
    )
