"""`/v1/volumes/{volume}/snapshot-schedules` and `/v1/volumes/{volume}/snapshot-policy`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.fields import Bytes
from holdfast.api.routes import Call, ChangeQuery, Page, Route, Started
from holdfast.api.schedules import LONGEST_ZONE, TaskScheduleSchema, schedule_of
from holdfast.api.snapshots import OverflowPolicySchema, policy_of
from holdfast.planning.snapshot_retention import MOST_KEPT, RetentionRules
from holdfast.services.snapshots.documents import SnapshotScheduleDocument
from holdfast.services.snapshots.schedules import SnapshotSchedules
from holdfast.services.snapshots.watch import SnapshotWatch
from holdfast.values import to_plain

RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


class Count(fields.Integer):
    """How many a rule keeps."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(validate=validate.Range(min=0, max=MOST_KEPT), **keywords)


class RetentionSchema(Schema):
    """Several rules at once: one that keeps a snapshot is enough. Of each period it is the newest one."""

    last = Count(strict=True, load_default=0)
    hourly = Count(strict=True, load_default=0)
    daily = Count(strict=True, load_default=0)
    weekly = Count(strict=True, load_default=0)
    monthly = Count(strict=True, load_default=0)
    yearly = Count(strict=True, load_default=0)
    time_zone = fields.String(load_default="UTC", validate=validate.Length(max=LONGEST_ZONE))


class SnapshotScheduleSchema(TaskScheduleSchema):
    """When a volume's snapshots are taken, how large, and which are kept."""

    retention = fields.Nested(RetentionSchema, required=True)
    reserve_bytes = Bytes(load_default=None, allow_none=True)


class RulesQuery(Schema):
    """Other rules than those of the schedule, to try them."""

    last = Count(load_default=0)
    hourly = Count(load_default=0)
    daily = Count(load_default=0)
    weekly = Count(load_default=0)
    monthly = Count(load_default=0)
    yearly = Count(load_default=0)


def routes(schedules: SnapshotSchedules, watch: SnapshotWatch) -> tuple[Route, ...]:
    """The routes of the schedules and the policy of a volume's snapshots."""

    async def shown(document: SnapshotScheduleDocument) -> dict[str, Any]:
        plain = to_plain(document)
        del plain["volume_uuid"]
        timing = plain.pop("schedule")
        return {**plain, **timing, "next_times": await schedules.next_times(document)}

    async def show_all(call: Call) -> Page:
        return Page([await shown(document) for document in await schedules.of(call.path["volume"])])

    async def show(call: Call) -> Any:
        return await shown(await schedules.get(call.path["volume"], call.path["schedule"]))

    async def put(call: Call) -> Started:
        body = call.body
        document = SnapshotScheduleDocument(
            volume=call.path["volume"],
            name=call.path["schedule"],
            schedule=schedule_of(body),
            retention=RetentionRules(**body["retention"]),
            reserve_bytes=body["reserve_bytes"],
            missed=body["missed"],
            grace_s=body["grace_s"],
            is_enabled=body["is_enabled"],
        )
        return Started(await schedules.set(document, validate_only=call.validate_only))

    async def delete(call: Call) -> Started:
        volume, name = call.path["volume"], call.path["schedule"]
        return Started(await schedules.delete(volume, name, validate_only=call.validate_only))

    async def preview(call: Call) -> Page:
        volume, name = call.path["volume"], call.path["schedule"]
        counts = {rule: call.query[rule] for rule in RULES}
        zone = (await schedules.get(volume, name)).retention.time_zone
        others = RetentionRules(**counts, time_zone=zone) if any(counts.values()) else None
        verdicts, _ = await schedules.preview(volume, name, others)
        return Page(verdicts)

    async def show_policy(call: Call) -> Any:
        return await watch.shown_policy(call.path["volume"])

    async def put_policy(call: Call) -> Started:
        policy = policy_of(call.body)
        assert policy is not None
        return Started(await watch.set_policy(call.path["volume"], policy, validate_only=call.validate_only))

    many, policy = "/v1/volumes/{volume}/snapshot-schedules", "/v1/volumes/{volume}/snapshot-policy"
    one = f"{many}/{{schedule}}"
    return (
        Route("GET", many, "The snapshot schedules of a volume by name, each with its next five times.", show_all),
        Route("GET", one, "One of them, with its next five times.", show),
        Route(
            "PUT",
            one,
            "Make a snapshot schedule, or change it.",
            put,
            body=SnapshotScheduleSchema,
            query=ChangeQuery,
            changes=True,
        ),
        Route(
            "DELETE",
            one,
            "Remove a schedule; the snapshots that it took stay.",
            delete,
            query=ChangeQuery,
            changes=True,
        ),
        Route(
            "GET",
            f"{one}/preview",
            "Each snapshot of a schedule, whether it is kept and why, by its rules or by others.",
            preview,
            query=RulesQuery,
        ),
        Route("GET", policy, "What is done when a snapshot of the volume is about to overflow.", show_policy),
        Route(
            "PUT",
            policy,
            "Say what is done then.",
            put_policy,
            body=OverflowPolicySchema,
            query=ChangeQuery,
            changes=True,
        ),
    )
