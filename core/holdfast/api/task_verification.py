"""`/v1/replication-tasks/{name}/verification` and `…/verify`: what makes its runs believable."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.fields import NoFields
from holdfast.api.routes import Call, ChangeQuery, Route, Started
from holdfast.services.copies.runs import TaskRuns
from holdfast.services.copies.truth import RunTruth
from holdfast.values import to_plain

MOST_DAYS = 366


class VerificationSchema(Schema):
    """After how many days a run compares every file by checksum; null: only when it is asked for."""

    every_days = fields.Integer(
        strict=True, required=True, allow_none=True, validate=validate.Range(min=1, max=MOST_DAYS)
    )


def routes(truth: RunTruth, runs: TaskRuns) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def show(call: Call) -> Any:
        known = await truth.of(call.path["name"])
        last = None if known.last is None else {**to_plain(known.last), "is_ok": known.last.is_ok}
        return {"every_days": known.every_days, "last": last, "ends": known.ends}

    async def change(call: Call) -> Started:
        job = await truth.set_interval(call.path["name"], call.body["every_days"], validate_only=call.validate_only)
        return Started(job)

    async def verify(call: Call) -> Started:
        return Started(await runs.run(call.path["name"], is_full=True, validate_only=call.validate_only))

    one = "/v1/replication-tasks/{name}"
    return (
        Route("GET", f"{one}/verification", "The last full verification, and both ends compared.", show),
        Route(
            "PUT",
            f"{one}/verification",
            "Say how often every file is compared.",
            change,
            body=VerificationSchema,
            query=ChangeQuery,
            changes=True,
        ),
        Route(
            "POST",
            f"{one}/verify",
            "Copy now, and compare every file.",
            verify,
            body=NoFields,
            query=ChangeQuery,
            changes=True,
        ),
    )
