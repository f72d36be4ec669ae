"""`/v1/mirrors/{mirror}/…`: comparing, mending, resyncs, and the case file of a split brain."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from holdfast.api.fields import Bytes, Name, NoFields, Rate
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, Route, Started
from holdfast.api.schedules import ScheduleSchema, schedule_of
from holdfast.hooks.replication import SyncLimits
from holdfast.services.mirrors.adding import MirrorAdding
from holdfast.services.mirrors.growth import MirrorGrowth
from holdfast.services.mirrors.mirrors import Mirrors
from holdfast.services.mirrors.removing import MirrorRemoving
from holdfast.services.mirrors.repair import MirrorRepair
from holdfast.services.mirrors.replacement import MirrorReplacement
from holdfast.services.mirrors.split_brain import SplitBrains
from holdfast.services.mirrors.split_brain_jobs import SplitBrainJobs
from holdfast.services.mirrors.verify import MirrorVerify
from holdfast.services.mirrors.wanted import FirstSync


class LimitsSchema(Schema):
    """How fast a resync may be; null is what the plugin's settings say."""

    max_bytes_s = Rate(load_default=None, allow_none=True)
    min_bytes_s = Rate(load_default=None, allow_none=True)


class MirrorChangeSchema(Schema):
    """What is to be different; what is not given stays. A schedule of null ends it."""

    limits = fields.Nested(LimitsSchema)
    schedule = fields.Nested(ScheduleSchema, allow_none=True)


class GrowSchema(Schema):
    """A volume of the mirror, and the size that it is to have."""

    volume = Name(required=True)
    size_bytes = Bytes(required=True)


class AddVolumeSchema(Schema):
    """A volume of this node, the mirror's source, that the mirror is to have, too.

    The partner's is made, unless `destination_volume` names one that it has. See the making of a mirror for the rest.
    """

    volume = Name(required=True)
    first_sync = fields.Enum(FirstSync, by_value=True, required=True)
    destination_volume = Name(load_default=None, allow_none=True)
    zero_limit_bytes_s = Rate(load_default=None, allow_none=True)


class RemoveVolumeSchema(Schema):
    """A volume that the mirror is to have no more."""

    volume = Name(required=True)


class ReplaceDiskSchema(Schema):
    """A volume that lost its disk on this node, and the pool of this node that it is to lie in from now on."""

    volume = Name(required=True)
    pool = Name(required=True)
    remove_old = fields.Boolean(load_default=False, truthy={True}, falsy={False})


class ResolveSchema(Schema):
    """The node whose data is kept on both sides."""

    survivor = Name(required=True)


def routes(
    mirrors: Mirrors,
    verify: MirrorVerify,
    repairs: MirrorRepair,
    split_brains: SplitBrains,
    split_brain_jobs: SplitBrainJobs,
    growth: MirrorGrowth,
    adding: MirrorAdding,
    removing: MirrorRemoving,
    replacement: MirrorReplacement,
) -> tuple[Route, ...]:
    """The routes of a mirror's upkeep."""

    async def change(call: Call) -> Started:
        body = call.body
        limits = SyncLimits(**body["limits"]) if "limits" in body else None
        given = body.get("schedule")
        schedule = None if given is None else schedule_of(given)
        job = await mirrors.change(
            call.path["mirror"],
            limits,
            schedule,
            with_schedule="schedule" in body,
            validate_only=call.validate_only,
        )
        return Started(job)

    async def start_verify(call: Call) -> Started:
        return Started(await verify.verify(call.path["mirror"], validate_only=call.validate_only))

    async def show_verifications(call: Call) -> Page:
        return Page(await mirrors.verifications(call.path["mirror"]))

    async def show_repair(call: Call) -> Any:
        return await repairs.plan(call.path["mirror"])

    async def repair(call: Call) -> Started:
        name = call.path["mirror"]
        await mirrors.get(name)
        call.confirm(name)
        return Started(await repairs.repair(name, validate_only=call.validate_only))

    async def pause(call: Call) -> Started:
        return Started(await mirrors.hold_sync(call.path["mirror"], is_held=True, validate_only=call.validate_only))

    async def resume(call: Call) -> Started:
        return Started(await mirrors.hold_sync(call.path["mirror"], is_held=False, validate_only=call.validate_only))

    async def grow(call: Call) -> Started:
        body, name = call.body, call.path["mirror"]
        job = await growth.grow(name, body["volume"], body["size_bytes"], validate_only=call.validate_only)
        return Started(job)

    async def add_volume(call: Call) -> Started:
        body = call.body
        job = await adding.add(
            call.path["mirror"],
            body["volume"],
            body["first_sync"],
            body["destination_volume"],
            body["zero_limit_bytes_s"],
            validate_only=call.validate_only,
        )
        return Started(job)

    async def remove_volume(call: Call) -> Started:
        name, volume = call.path["mirror"], call.body["volume"]
        await mirrors.get(name)
        call.confirm(volume)
        return Started(await removing.remove(name, volume, validate_only=call.validate_only))

    async def replace_disk(call: Call) -> Started:
        body = call.body
        job = await replacement.replace(
            call.path["mirror"],
            body["volume"],
            body["pool"],
            remove_old=body["remove_old"],
            validate_only=call.validate_only,
        )
        return Started(job)

    async def show_case(call: Call) -> Any:
        return await split_brains.case(call.path["mirror"])

    async def resolve(call: Call) -> Started:
        name = call.path["mirror"]
        await mirrors.get(name)
        call.confirm(name)
        job = await split_brain_jobs.resolve(name, call.body["survivor"], validate_only=call.validate_only)
        return Started(job)

    one = "/v1/mirrors/{mirror}"

    def post(word: str, summary: str, handler: Any, *, body: type[Schema] = NoFields, destroys: bool = False) -> Route:
        query = DestroyQuery if destroys else ChangeQuery
        return Route("POST", f"{one}/{word}", summary, handler, body=body, query=query, changes=True)

    return (
        Route(
            "PATCH",
            one,
            "Change the limits of resyncs, or when it is verified.",
            change,
            body=MirrorChangeSchema,
            query=ChangeQuery,
            changes=True,
        ),
        post("verify", "Compare both sides online.", start_verify),
        Route("GET", f"{one}/verifications", "What comparisons found, newest first.", show_verifications),
        Route("GET", f"{one}/repair", "What a repair would overwrite, and where.", show_repair),
        post("repair", "Make both sides equal where they were found to differ.", repair, destroys=True),
        post("pause-sync", "Hold a resync where it is.", pause),
        post("resume-sync", "Let a held resync go on.", resume),
        post("grow", "Make a volume larger on both nodes, and the file system on it.", grow, body=GrowSchema),
        post("add-volume", "Add a volume to its write order while it is used.", add_volume, body=AddVolumeSchema),
        post(
            "remove-volume",
            "Take a volume out while the others are used; both copies stay.",
            remove_volume,
            body=RemoveVolumeSchema,
            destroys=True,
        ),
        post(
            "replace-disk",
            "Give a volume that lost its disk on this node a new one in another pool, while the partner serves.",
            replace_disk,
            body=ReplaceDiskSchema,
        ),
        Route("GET", f"{one}/split-brain", "The case file: how both sides diverged.", show_case),
        post(
            "resolve-split-brain",
            "Keep the survivor's data on both sides, after snapshots of both.",
            resolve,
            body=ResolveSchema,
            destroys=True,
        ),
    )
