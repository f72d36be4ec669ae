"""What is done to a pool that is there: its disks, its name, its thin pool, and pools that are found."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from holdfast.api.fields import Bytes, Name
from holdfast.api.pools import DISK_PATH, DiskPath
from holdfast.api.routes import Call, ChangeQuery, Page, Route, Started
from holdfast.services.pools.disks import PoolDisks
from holdfast.services.pools.names import PoolNames
from holdfast.services.pools.report import PoolReports
from holdfast.services.pools.thin import ThinPools


class PoolExtendSchema(Schema):
    """Disks that a pool is to get."""

    disks = fields.List(DiskPath, required=True, validate=validate.Length(min=1, max=256))
    overwrite = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        load_default=dict,
        metadata={"description": "for a disk that is not blank: the signatures that you saw on it"},
    )


class PoolDiskSchema(Schema):
    """A disk that is to leave its pool."""

    disk = fields.String(required=True, validate=validate.Regexp(DISK_PATH))


class PoolRenameSchema(Schema):
    """What a pool is to be called."""

    new_name = Name(required=True)


class FoundPoolSchema(Schema):
    """What is to become a pool, by the id that the list of found pools shows."""

    id = fields.String(required=True, validate=validate.Regexp(r"[A-Za-z0-9-]{1,64}\Z"))
    name = Name(required=True)


class ThinPoolSchema(Schema):
    """A thin pool as it is to be. What is left out stays as it is; a new one needs a size."""

    size_bytes = Bytes()
    metadata_bytes = Bytes(metadata={"description": "for its maps; a new one gets what its size needs"})
    most_promised_percent = fields.Integer(
        strict=True,
        validate=validate.Range(min=1, max=10000),
        metadata={"description": "of its size, what all its volumes together may be promised; 100 unless asked"},
    )
    grows_itself = fields.Boolean(
        truthy={True},
        falsy={False},
        metadata={"description": "whether it gets more of its pool by itself as it fills up; true unless asked"},
    )

    @validates_schema
    def check(self, data: dict[str, Any], **_: object) -> None:
        """Refuse what asks for nothing."""
        if not data:
            raise ValidationError("say what is to be otherwise", "size_bytes")


def routes(disks: PoolDisks, names: PoolNames, thin: ThinPools, reports: PoolReports) -> tuple[Route, ...]:
    """The routes of these nouns."""

    async def extend(call: Call) -> Started:
        overwrite = {disk: tuple(found) for disk, found in call.body["overwrite"].items()}
        wanted = tuple(call.body["disks"])
        return Started(await disks.extend(call.path["pool"], wanted, overwrite, validate_only=call.validate_only))

    async def remove_disk(call: Call) -> Started:
        return Started(await disks.remove(call.path["pool"], call.body["disk"], validate_only=call.validate_only))

    async def forget_missing(call: Call) -> Started:
        return Started(await disks.forget_missing(call.path["pool"], validate_only=call.validate_only))

    async def rename(call: Call) -> Started:
        new_name = call.body["new_name"]
        return Started(await names.rename(call.path["pool"], new_name, validate_only=call.validate_only))

    async def show_found(call: Call) -> Page:
        return Page(await names.found())

    async def take(call: Call) -> Started:
        return Started(await names.take(call.body["id"], call.body["name"], validate_only=call.validate_only))

    async def set_thin(call: Call) -> Started:
        words = ("size_bytes", "metadata_bytes", "most_promised_percent", "grows_itself")
        wanted = {word: call.body.get(word) for word in words}
        return Started(await thin.set(call.path["pool"], **wanted, validate_only=call.validate_only))

    async def delete_thin(call: Call) -> Started:
        return Started(await thin.delete(call.path["pool"], validate_only=call.validate_only))

    async def report(call: Call) -> Any:
        return await reports.get(call.path["pool"])

    one = "/v1/pools/{pool}"
    change: dict[str, Any] = {"query": ChangeQuery, "changes": True}
    return (
        Route("GET", f"{one}/report", "What the room of a pool is used for.", report),
        Route("POST", f"{one}/extend", "Add disks to a pool.", extend, body=PoolExtendSchema, **change),
        Route(
            "POST",
            f"{one}/remove-disk",
            "Move what lies on a disk to the pool's others, and give it back blank.",
            remove_disk,
            body=PoolDiskSchema,
            **change,
        ),
        Route(
            "POST",
            f"{one}/forget-missing",
            "Let a pool go on without missing disks on which nothing lies.",
            forget_missing,
            **change,
        ),
        Route("POST", f"{one}/rename", "Call a pool otherwise.", rename, body=PoolRenameSchema, **change),
        Route("PUT", f"{one}/thin", "Make a thin pool, or make it larger.", set_thin, body=ThinPoolSchema, **change),
        Route("DELETE", f"{one}/thin", "Give the room of an empty thin pool back.", delete_thin, **change),
        Route("GET", "/v1/found-pools", "What could become a pool of this node, by name.", show_found),
        Route("POST", "/v1/found-pools", "Make a pool of what was found.", take, body=FoundPoolSchema, **change),
    )
