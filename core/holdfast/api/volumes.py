"""`/v1/volumes` and `/v1/snapshots`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.fields import Bytes, Name
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, Route, Started
from holdfast.hooks.volume import IoType, VolumeKind, VolumeSpec
from holdfast.services.documents import ReplicationMode
from holdfast.services.replication_modes import ReplicationModes
from holdfast.services.snapshots import Snapshots
from holdfast.services.volumes import Volumes


class VolumeSchema(Schema):
    """A volume to make."""

    pool = Name(required=True)
    name = Name(required=True)
    size_bytes = Bytes(required=True)
    kind = fields.Enum(VolumeKind, by_value=True, required=True)
    io_type = fields.Enum(
        IoType,
        by_value=True,
        load_default=IoType.BLOCK,
        metadata={
            "description": "of kind iscsi or fc: whether the logical unit is the volume itself, or a file in a file "
            "system on it, which is cached for reading"
        },
    )
    label = fields.String(load_default="", validate=validate.Length(max=200))


class ReplicationSchema(Schema):
    """What a volume is set to; a destination is given up to a mirror, and `confirm` names it."""

    mode = fields.Enum(ReplicationMode, by_value=True, required=True)
    clear_metadata = fields.Boolean(load_default=False, truthy={True}, falsy={False})


class SnapshotSchema(Schema):
    """A snapshot to make; its reserve is a tenth of the volume unless asked otherwise."""

    volume = Name(required=True)
    name = Name(required=True)
    reserve_bytes = Bytes(load_default=None, allow_none=True)


def routes(volumes: Volumes, snapshots: Snapshots, modes: ReplicationModes) -> tuple[Route, ...]:
    """The routes of these nouns."""

    async def show_all(call: Call) -> Page:
        return Page(await volumes.list())

    async def show(call: Call) -> Any:
        return await volumes.get(call.path["volume"])

    async def create(call: Call) -> Started:
        body = call.body
        spec = VolumeSpec(body["pool"], body["name"], body["size_bytes"], body["kind"], body["io_type"])
        return Started(await volumes.create(spec, body["label"], validate_only=call.validate_only))

    async def delete(call: Call) -> Started:
        name = call.path["volume"]
        await volumes.document(name)
        call.confirm(name)
        return Started(await volumes.delete(name, validate_only=call.validate_only))

    async def set_mode(call: Call) -> Started:
        name, mode = call.path["volume"], call.body["mode"]
        await volumes.document(name)
        if mode is ReplicationMode.DESTINATION:
            call.confirm(name)
        clear = call.body["clear_metadata"]
        return Started(await modes.set(name, mode, clear_metadata=clear, validate_only=call.validate_only))

    async def show_destinations(call: Call) -> Page:
        return Page(await modes.destinations(call.path["volume"]))

    async def show_snapshots(call: Call) -> Page:
        return Page(await snapshots.list())

    async def show_snapshot(call: Call) -> Any:
        return await snapshots.get(call.path["volume"], call.path["snapshot"])

    async def create_snapshot(call: Call) -> Started:
        body = call.body
        return Started(
            await snapshots.create(
                body["volume"], body["name"], body["reserve_bytes"], validate_only=call.validate_only
            )
        )

    async def delete_snapshot(call: Call) -> Started:
        volume, name = call.path["volume"], call.path["snapshot"]
        await snapshots.get(volume, name)
        call.confirm(name)
        return Started(await snapshots.delete(volume, name, validate_only=call.validate_only))

    one, one_snapshot = "/v1/volumes/{volume}", "/v1/snapshots/{volume}/{snapshot}"
    return (
        Route("GET", "/v1/volumes", "Volumes, wanted and actual, by name.", show_all),
        Route("POST", "/v1/volumes", "Make a volume.", create, body=VolumeSchema, query=ChangeQuery, changes=True),
        Route("GET", one, "One volume.", show),
        Route("DELETE", one, "Destroy a volume.", delete, query=DestroyQuery, changes=True),
        Route(
            "PUT",
            f"{one}/replication",
            "Set a volume to source or destination of replication, or to neither.",
            set_mode,
            body=ReplicationSchema,
            query=DestroyQuery,
            changes=True,
        ),
        Route(
            "GET",
            f"{one}/destinations",
            "The partner's volumes, each with what keeps it from being the destination.",
            show_destinations,
        ),
        Route("GET", "/v1/snapshots", "Snapshots, by pool, volume and name.", show_snapshots),
        Route(
            "POST",
            "/v1/snapshots",
            "Freeze a moment of a volume.",
            create_snapshot,
            body=SnapshotSchema,
            query=ChangeQuery,
            changes=True,
        ),
        Route("GET", one_snapshot, "One snapshot.", show_snapshot),
        Route("DELETE", one_snapshot, "Destroy a snapshot.", delete_snapshot, query=DestroyQuery, changes=True),
    )
