"""`/v1/snapshots`: point-in-time copies of volumes, and what is done with them."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.fields import Bytes, Name, NoFields
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, Route, Started
from holdfast.planning.snapshot_fill import (
    DEFAULT_AHEAD_S,
    DEFAULT_ALERT_PERCENT,
    DEFAULT_EXTEND_PERCENT,
    OverflowAction,
    OverflowPolicy,
)
from holdfast.services.snapshots.clone import SnapshotClone
from holdfast.services.snapshots.documents import SnapshotDocument
from holdfast.services.snapshots.mounts import SnapshotMounts
from holdfast.services.snapshots.restore import RestoreRequest, SnapshotRestore
from holdfast.services.snapshots.rollback import SnapshotRollback
from holdfast.services.snapshots.snapshots import Snapshots

LONGEST_PATH = 4096


class OverflowPolicySchema(Schema):
    """When an alert is raised of a reserve that fills, and what is done when it is about to be full."""

    action = fields.Enum(
        OverflowAction,
        by_value=True,
        load_default=OverflowAction.STOP,
        metadata={
            "description": "extend: from the pool; drop_oldest: the same, and without room there the oldest snapshot "
            "of the volume that a schedule took and nothing needs goes; stop: the snapshot ends when it is full"
        },
    )
    alert_percent = fields.Integer(strict=True, load_default=DEFAULT_ALERT_PERCENT)
    alert_ahead_s = fields.Integer(strict=True, load_default=DEFAULT_AHEAD_S)
    extend_percent = fields.Integer(strict=True, load_default=DEFAULT_EXTEND_PERCENT)
    keep_free_bytes = fields.Integer(strict=True, load_default=0)


class SnapshotSchema(Schema):
    """A snapshot to take; its reserve is a tenth of the volume unless asked otherwise."""

    volume = Name(required=True)
    name = Name(required=True)
    reserve_bytes = Bytes(load_default=None, allow_none=True)
    locked_until = fields.AwareDateTime(format="iso", load_default=None, allow_none=True)
    policy = fields.Nested(OverflowPolicySchema, load_default=None, allow_none=True)


class SnapshotExtendSchema(Schema):
    """What its reserve is to have."""

    reserve_bytes = Bytes(required=True)


class SnapshotLockSchema(Schema):
    """Until when nobody can remove it."""

    locked_until = fields.AwareDateTime(format="iso", required=True)


class SnapshotPolicySchema(Schema):
    """What is done when it is about to overflow; null: what is done for its volume."""

    policy = fields.Nested(OverflowPolicySchema, required=True, allow_none=True)


class CloneSchema(Schema):
    """The new volume."""

    name = Name(required=True)
    label = fields.String(load_default="", validate=validate.Length(max=200))


class RestorePreviewSchema(Schema):
    """A file or a folder of a share as the snapshot has it; paths are below the root of the share."""

    share = Name(required=True)
    path = fields.String(load_default="", validate=validate.Length(max=LONGEST_PATH))
    to = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=LONGEST_PATH))


class SnapshotRestoreSchema(RestorePreviewSchema):
    """The same, and whether what is there and differs is replaced."""

    may_replace = fields.Boolean(load_default=False, truthy={True}, falsy={False})


class SnapshotQuery(Schema):
    """Of one volume, or of all."""

    volume = Name()


def policy_of(given: dict[str, Any] | None) -> OverflowPolicy | None:
    """What passed an OverflowPolicySchema; `planning.snapshot_fill.check` judges it."""
    return None if given is None else OverflowPolicy(**given)


def routes(
    snapshots: Snapshots,
    mounts: SnapshotMounts,
    rollback: SnapshotRollback,
    clones: SnapshotClone,
    restores: SnapshotRestore,
) -> tuple[Route, ...]:
    """The routes of this noun."""

    def named(call: Call) -> tuple[str, str]:
        return call.path["volume"], call.path["snapshot"]

    async def show_all(call: Call) -> Page:
        return Page(await snapshots.views(call.query.get("volume")))

    async def show(call: Call) -> Any:
        return await snapshots.view(*named(call))

    async def create(call: Call) -> Started:
        body = call.body
        wanted = SnapshotDocument(
            body["volume"],
            body["name"],
            None,
            locked_until=body["locked_until"],
            policy=policy_of(body["policy"]),
        )
        return Started(await snapshots.create(wanted, body["reserve_bytes"], validate_only=call.validate_only))

    async def delete(call: Call) -> Started:
        volume, name = named(call)
        await snapshots.get(volume, name)
        call.confirm(name)
        return Started(await snapshots.delete(volume, name, validate_only=call.validate_only))

    async def extend(call: Call) -> Started:
        reserve_bytes = call.body["reserve_bytes"]
        return Started(await snapshots.extend(*named(call), reserve_bytes, validate_only=call.validate_only))

    async def lock(call: Call) -> Started:
        until = call.body["locked_until"]
        return Started(await snapshots.lock(*named(call), until, validate_only=call.validate_only))

    async def set_policy(call: Call) -> Started:
        policy = policy_of(call.body["policy"])
        return Started(await snapshots.set_policy(*named(call), policy, validate_only=call.validate_only))

    async def mount(call: Call) -> Started:
        return Started(await mounts.mount(*named(call), validate_only=call.validate_only))

    async def unmount(call: Call) -> Started:
        return Started(await mounts.unmount(*named(call), validate_only=call.validate_only))

    async def roll_back(call: Call) -> Started:
        volume, name = named(call)
        await snapshots.get(volume, name)
        call.confirm(volume)
        return Started(await rollback.roll_back(volume, name, validate_only=call.validate_only))

    async def clone(call: Call) -> Started:
        body = call.body
        return Started(await clones.clone(*named(call), body["name"], body["label"], validate_only=call.validate_only))

    async def restore(call: Call) -> Started:
        wanted = RestoreRequest(*named(call), **call.body)
        return Started(await restores.restore(wanted, is_preview=False, validate_only=call.validate_only))

    async def preview_restore(call: Call) -> Started:
        wanted = RestoreRequest(*named(call), **call.body)
        return Started(await restores.restore(wanted, is_preview=True, validate_only=call.validate_only))

    many, one = "/v1/snapshots", "/v1/snapshots/{volume}/{snapshot}"

    def change(method: str, word: str, summary: str, handler: Any, body: type[Schema] = NoFields) -> Route:
        return Route(method, f"{one}/{word}", summary, handler, body=body, query=ChangeQuery, changes=True)

    return (
        Route("GET", many, "Snapshots, by pool, volume and name.", show_all, query=SnapshotQuery),
        Route(
            "POST", many, "Freeze a moment of a volume.", create, body=SnapshotSchema, query=ChangeQuery, changes=True
        ),
        Route("GET", one, "One snapshot, and when its reserve will be full.", show),
        Route("DELETE", one, "Destroy a snapshot.", delete, query=DestroyQuery, changes=True),
        change("POST", "extend", "Make its reserve larger.", extend, SnapshotExtendSchema),
        change("PUT", "lock", "Let nobody remove it before an instant.", lock, SnapshotLockSchema),
        change("PUT", "policy", "Say what is done when it fills.", set_policy, SnapshotPolicySchema),
        change("POST", "mount", "Make it readable beside its volume.", mount),
        change("POST", "unmount", "Make it readable no more.", unmount),
        Route(
            "POST",
            f"{one}/roll-back",
            "Make its volume what it was then; what is lost by that is kept in a snapshot. `confirm` names the volume.",
            roll_back,
            body=NoFields,
            query=DestroyQuery,
            changes=True,
        ),
        change("POST", "clone", "Make a new volume of it.", clone, CloneSchema),
        change("POST", "restore", "Bring a file or a folder back into a share.", restore, SnapshotRestoreSchema),
        change(
            "POST", "preview-restore", "Tell what bringing it back would do.", preview_restore, RestorePreviewSchema
        ),
    )
