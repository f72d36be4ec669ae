"""When something is to run, as a field of several nouns; and `/v1/replication-tasks/{name}/schedules`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.routes import Call, ChangeQuery, Page, Route, Started
from holdfast.planning.schedules import (
    DEFAULT_GRACE_S,
    LONGEST_CRON,
    LONGEST_GRACE_S,
    SHORTEST_GRACE_S,
    MissedRuns,
    Schedule,
)
from holdfast.services.copies.schedules import TaskSchedules
from holdfast.services.copies.task_documents import ScheduleDocument
from holdfast.values import to_plain

LONGEST_ZONE = 64


class ScheduleSchema(Schema):
    """Every so many hours, weekdays (0 is Monday) with a time of day, or a cron expression of five fields."""

    every_hours = fields.Integer(strict=True, load_default=None, allow_none=True)
    weekdays = fields.List(fields.Integer(strict=True), load_default=list, validate=validate.Length(max=7))
    time_of_day = fields.String(load_default=None, allow_none=True)
    cron = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=LONGEST_CRON))
    time_zone = fields.String(load_default="UTC", validate=validate.Length(max=LONGEST_ZONE))
    starts_at = fields.AwareDateTime(format="iso", load_default=None, allow_none=True)


class TaskScheduleSchema(ScheduleSchema):
    """When a task runs, and what becomes of runs that were missed."""

    missed = fields.Enum(MissedRuns, by_value=True, load_default=MissedRuns.RUN_ONCE)
    grace_s = fields.Integer(
        strict=True,
        load_default=DEFAULT_GRACE_S,
        validate=validate.Range(min=SHORTEST_GRACE_S, max=LONGEST_GRACE_S),
        metadata={"description": "a run that is due for longer than this is missed"},
    )
    is_enabled = fields.Boolean(load_default=True, truthy={True}, falsy={False})


def schedule_of(given: dict[str, Any]) -> Schedule:
    """What passed a ScheduleSchema; `planning.schedules.check` judges it."""
    return Schedule(
        every_hours=given["every_hours"],
        weekdays=tuple(sorted(set(given["weekdays"]))),
        time_of_day=given["time_of_day"],
        cron=given["cron"],
        time_zone=given["time_zone"],
        starts_at=given["starts_at"],
    )


def routes(schedules: TaskSchedules) -> tuple[Route, ...]:
    """The routes of the schedules of a task."""

    async def shown(document: ScheduleDocument) -> dict[str, Any]:
        plain = to_plain(document)
        timing = plain.pop("schedule")
        return {**plain, **timing, "next_runs": await schedules.next_runs(document)}

    async def show_all(call: Call) -> Page:
        return Page([await shown(document) for document in await schedules.of(call.path["name"])])

    async def show(call: Call) -> Any:
        return await shown(await schedules.get(call.path["name"], call.path["schedule"]))

    async def put(call: Call) -> Started:
        body = call.body
        document = ScheduleDocument(
            task=call.path["name"],
            name=call.path["schedule"],
            schedule=schedule_of(body),
            missed=body["missed"],
            grace_s=body["grace_s"],
            is_enabled=body["is_enabled"],
        )
        return Started(await schedules.set(document, validate_only=call.validate_only))

    async def delete(call: Call) -> Started:
        job = await schedules.delete(call.path["name"], call.path["schedule"], validate_only=call.validate_only)
        return Started(job)

    many = "/v1/replication-tasks/{name}/schedules"
    one = f"{many}/{{schedule}}"
    return (
        Route("GET", many, "The schedules of a task by name, each with its next five runs.", show_all),
        Route("GET", one, "One schedule of a task, with its next five runs.", show),
        Route(
            "PUT", one, "Make a schedule, or change it.", put, body=TaskScheduleSchema, query=ChangeQuery, changes=True
        ),
        Route("DELETE", one, "Remove a schedule; a run under way goes on.", delete, query=ChangeQuery, changes=True),
    )
