"""`/v1/volumes`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.fields import Bytes, Name, RetentionSeconds
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, Route, Started
from holdfast.hooks.volume import FileSystem, IoType, VolumeKind, VolumeSpec
from holdfast.services.documents import ReplicationMode
from holdfast.services.mirrors.modes import ReplicationModes
from holdfast.services.volumes.growth import VolumeGrowth
from holdfast.services.volumes.labels import VolumeLabels
from holdfast.services.volumes.volumes import Volumes


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
    file_system = fields.Enum(
        FileSystem,
        by_value=True,
        load_default=FileSystem.XFS,
        metadata={"description": "of kind nas: what keeps the files"},
    )
    is_thin = fields.Boolean(
        load_default=False,
        truthy={True},
        falsy={False},
        metadata={"description": "take room from the pool's thin pool as it is written, instead of all of it now"},
    )
    worm_retention_s = RetentionSeconds(
        load_default=None,
        allow_none=True,
        metadata={"description": "of kind nas: it is write once, and each of its files is retained so long"},
    )


class VolumeLabelSchema(Schema):
    """What people call a volume."""

    label = fields.String(required=True, validate=validate.Length(max=200))


class VolumeGrowSchema(Schema):
    """What a volume is to have."""

    size_bytes = Bytes(required=True)


class ReplicationSchema(Schema):
    """What a volume is set to; a destination is given up to a mirror, and `confirm` names it."""

    mode = fields.Enum(ReplicationMode, by_value=True, required=True)
    clear_metadata = fields.Boolean(load_default=False, truthy={True}, falsy={False})


def routes(volumes: Volumes, growth: VolumeGrowth, labels: VolumeLabels, modes: ReplicationModes) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def show_all(call: Call) -> Page:
        return Page(await volumes.list())

    async def show(call: Call) -> Any:
        return await volumes.get(call.path["volume"])

    async def create(call: Call) -> Started:
        body = call.body
        what = body["kind"], body["io_type"], body["is_thin"], body["file_system"]
        spec = VolumeSpec(body["pool"], body["name"], body["size_bytes"], *what)
        worm_s = body["worm_retention_s"]
        job = await volumes.create(spec, body["label"], worm_retention_s=worm_s, validate_only=call.validate_only)
        return Started(job)

    async def delete(call: Call) -> Started:
        name = call.path["volume"]
        await volumes.document(name)
        call.confirm(name)
        return Started(await volumes.delete(name, validate_only=call.validate_only))

    async def grow(call: Call) -> Started:
        size_bytes = call.body["size_bytes"]
        return Started(await growth.grow(call.path["volume"], size_bytes, validate_only=call.validate_only))

    async def label(call: Call) -> Started:
        text = call.body["label"]
        return Started(await labels.set(call.path["volume"], text, validate_only=call.validate_only))

    async def set_mode(call: Call) -> Started:
        name, mode = call.path["volume"], call.body["mode"]
        await volumes.document(name)
        if mode is ReplicationMode.DESTINATION:
            call.confirm(name)
        clear = call.body["clear_metadata"]
        return Started(await modes.set(name, mode, clear_metadata=clear, validate_only=call.validate_only))

    async def show_destinations(call: Call) -> Page:
        return Page(await modes.destinations(call.path["volume"]))

    one = "/v1/volumes/{volume}"
    return (
        Route("GET", "/v1/volumes", "Volumes, wanted and actual, by name.", show_all),
        Route("POST", "/v1/volumes", "Make a volume.", create, body=VolumeSchema, query=ChangeQuery, changes=True),
        Route("GET", one, "One volume.", show),
        Route("DELETE", one, "Destroy a volume.", delete, query=DestroyQuery, changes=True),
        Route(
            "POST",
            f"{one}/grow",
            "Make a volume larger under its users, and what lies on it.",
            grow,
            body=VolumeGrowSchema,
            query=ChangeQuery,
            changes=True,
        ),
        Route(
            "PUT",
            f"{one}/label",
            "Give a volume another label.",
            label,
            body=VolumeLabelSchema,
            query=ChangeQuery,
            changes=True,
        ),
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
    )
