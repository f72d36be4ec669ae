"""`PATCH /v1/groups/{group}`, and its drills."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from holdfast.api.routes import Call, ChangeQuery, Page, Route, Started
from holdfast.api.schedules import ScheduleSchema, schedule_of
from holdfast.planning.failback import LEAST_AFTER_S, MOST_AFTER_S, Failback
from holdfast.services.groups.drills import Drills
from holdfast.services.groups.rules import GroupRules, RulesWanted


class RulesSchema(Schema):
    """What is to be different; what is not given stays. A schedule of null ends it."""

    failback = fields.Enum(Failback, by_value=True)
    failback_after_s = fields.Integer(strict=True, validate=validate.Range(min=LEAST_AFTER_S, max=MOST_AFTER_S))
    drill_schedule = fields.Nested(ScheduleSchema, allow_none=True)


class DrillSchema(Schema):
    """There and back, or only there."""

    and_back = fields.Boolean(load_default=True, truthy={True}, falsy={False})


def routes(rules: GroupRules, drills: Drills) -> tuple[Route, ...]:
    """The routes of what a group does by itself."""

    async def change(call: Call) -> Started:
        body, schedule = call.body, None
        if (given := body.get("drill_schedule")) is not None:
            schedule = schedule_of(given)
        wanted = RulesWanted(
            failback=body.get("failback"),
            failback_after_s=body.get("failback_after_s"),
            drill_schedule=schedule,
            ends_drill_schedule="drill_schedule" in body and schedule is None,
        )
        return Started(await rules.change(call.path["group"], wanted, validate_only=call.validate_only))

    async def drill(call: Call) -> Started:
        and_back = call.body["and_back"]
        return Started(await drills.drill(call.path["group"], and_back=and_back, validate_only=call.validate_only))

    async def show_drills(call: Call) -> Page:
        return Page(await drills.reports(call.path["group"]))

    one = "/v1/groups/{group}"
    return (
        Route(
            "PATCH",
            one,
            "Change when it fails back and when drills are held, also while it is served.",
            change,
            body=RulesSchema,
            query=ChangeQuery,
            changes=True,
        ),
        Route(
            "POST",
            f"{one}/drill",
            "Move it to the other node and back, and keep what it took.",
            drill,
            body=DrillSchema,
            query=ChangeQuery,
            changes=True,
        ),
        Route("GET", f"{one}/drills", "The last 50 drills, newest first.", show_drills),
    )
