"""`/v1/replication-tasks`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from holdfast.api.copying_fields import Flag, TaskRulesSchema, TransportField, as_values
from holdfast.api.fields import Address, Name, Port, SecretText, User
from holdfast.api.replicas import DEFAULT_PORT
from holdfast.api.routes import Call, ChangeQuery, Page, Route, Started
from holdfast.planning.copy_age import LONGEST_OBJECTIVE_S, SHORTEST_OBJECTIVE_S
from holdfast.services.copies.ages import CopyAges, TaskView
from holdfast.services.copies.previews import MOST_CHANGES, SHOWN_CHANGES, TaskPreviews
from holdfast.services.copies.replica_documents import Transport
from holdfast.services.copies.runs import TaskRuns
from holdfast.services.copies.task_documents import TaskDocument
from holdfast.services.copies.tasks import Tasks
from holdfast.values import to_plain


class Objective(fields.Integer):
    """Seconds that the newest verified copy may be old; null for no objective."""

    def __init__(self, **keywords: Any) -> None:
        bounds = validate.Range(min=SHORTEST_OBJECTIVE_S, max=LONGEST_OBJECTIVE_S)
        super().__init__(strict=True, allow_none=True, validate=bounds, **keywords)


class TaskSchema(TaskRulesSchema):
    """A data replication task to make on its source."""

    name = Name(required=True)
    share = Name(required=True)
    agent_address = Address(required=True)
    agent_port = Port(load_default=DEFAULT_PORT)
    replica_share = Name(required=True)
    user = User(required=True)
    password = SecretText(required=True)
    objective_s = Objective(load_default=None)
    transport = TransportField(load_default=Transport.TLS)


class TaskChangeSchema(TaskRulesSchema):
    """What to change; what is not given stays. Null of the objective ends that."""

    agent_address = Address()
    agent_port = Port()
    replica_share = Name()
    user = User()
    password = SecretText()
    objective_s = Objective()

    @validates_schema
    def _says_something(self, data: dict[str, Any], **keywords: Any) -> None:
        if not data:
            raise ValidationError("give what is to change", "objective_s")


class DryRunSchema(Schema):
    """How many changes are named at most; all are counted."""

    most = fields.Integer(strict=True, load_default=SHOWN_CHANGES, validate=validate.Range(min=0, max=MOST_CHANGES))


class RunSchema(Schema):
    """Whether a person confirms that this run may delete as much as it will."""

    confirm_deletions = Flag(load_default=False)


def _shown(view: TaskView) -> dict[str, Any]:
    hidden = ("password", "objective_since")
    document = {key: value for key, value in to_plain(view.document).items() if key not in hidden}
    return {
        **document,
        "newest_copy_at": view.age.newest_copy_at,
        "copy_age_s": view.age.copy_age_s,
        "is_objective_missed": view.age.is_missed,
        "next_run_at": view.next_run_at,
        "alerts": view.alerts,
    }


def routes(tasks: Tasks, runs: TaskRuns, previews: TaskPreviews, ages: CopyAges) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def show_all(call: Call) -> Page:
        return Page([_shown(view) for view in await ages.tasks()])

    async def show(call: Call) -> Any:
        return _shown(await ages.task(call.path["name"]))

    async def create(call: Call) -> Started:
        body = as_values(call.body)
        password = body.pop("password")
        return Started(
            await tasks.create(TaskDocument(**body, password=""), password, validate_only=call.validate_only)
        )

    async def change(call: Call) -> Started:
        changes = as_values(call.body)
        password = changes.pop("password", None)
        return Started(await tasks.change(call.path["name"], changes, password, validate_only=call.validate_only))

    async def delete(call: Call) -> Started:
        return Started(await tasks.delete(call.path["name"], validate_only=call.validate_only))

    async def run(call: Call) -> Started:
        may_delete = call.body["confirm_deletions"]
        return Started(await runs.run(call.path["name"], may_delete=may_delete, validate_only=call.validate_only))

    async def dry_run(call: Call) -> Started:
        most = call.body["most"]
        return Started(await previews.start(call.path["name"], most, validate_only=call.validate_only))

    many, one = "/v1/replication-tasks", "/v1/replication-tasks/{name}"
    return (
        Route("GET", many, "Data replication tasks, by name.", show_all),
        Route("POST", many, "Make a task.", create, body=TaskSchema, query=ChangeQuery, changes=True),
        Route("GET", one, "One task, and how old its newest copy is.", show),
        Route(
            "PATCH",
            one,
            "Change it. What a run goes by is changed only while none is under way.",
            change,
            body=TaskChangeSchema,
            query=ChangeQuery,
            changes=True,
        ),
        Route(
            "DELETE", one, "Remove a task and its schedules; its copies stay.", delete, query=ChangeQuery, changes=True
        ),
        Route("POST", f"{one}/run", "Copy now.", run, body=RunSchema, query=ChangeQuery, changes=True),
        Route(
            "POST",
            f"{one}/dry-run",
            "What a run would send and delete now; nothing is changed.",
            dry_run,
            body=DryRunSchema,
            query=ChangeQuery,
            changes=True,
        ),
    )
