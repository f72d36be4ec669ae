"""`/v1/disks` and `/v1/pools`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.fields import Name
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, Route, Started
from holdfast.services.pools.disk_health import DiskHealths
from holdfast.services.pools.pools import Pools
from holdfast.values import to_plain

DISK_PATH = r"/dev/[A-Za-z0-9/_.:+-]{1,200}\Z"
DiskPath = fields.String(validate=validate.Regexp(DISK_PATH))


class PoolSchema(Schema):
    """A pool to make."""

    name = Name(required=True)
    disks = fields.List(DiskPath, required=True, validate=validate.Length(min=1, max=256))
    overwrite = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        load_default=dict,
        metadata={"description": "for a disk that is not blank: the signatures that you saw on it"},
    )


def routes(pools: Pools, healths: DiskHealths) -> tuple[Route, ...]:
    """The routes of these nouns."""

    async def disks(call: Call) -> Page:
        found = await pools.disks()
        told = await healths.shown([disk.path for disk in found])
        return Page([{**to_plain(disk), "health": to_plain(told[disk.path])} for disk in found])

    async def show_all(call: Call) -> Page:
        return Page(await pools.list())

    async def show(call: Call) -> Any:
        plain = to_plain(await pools.get(call.path["pool"]))
        told = await healths.shown([disk["path"] for disk in plain["members"] if disk["path"]])
        for disk in plain["members"]:
            disk["health"] = to_plain(told[disk["path"]]) if disk["path"] else None
        return plain

    async def create(call: Call) -> Started:
        overwrite = {disk: tuple(found) for disk, found in call.body["overwrite"].items()}
        wanted = tuple(call.body["disks"])
        return Started(await pools.create(call.body["name"], wanted, overwrite, validate_only=call.validate_only))

    async def delete(call: Call) -> Started:
        await pools.get(call.path["pool"])
        call.confirm(call.path["pool"])
        return Started(await pools.delete(call.path["pool"], validate_only=call.validate_only))

    return (
        Route("GET", "/v1/disks", "Disks that a pool could use, by path.", disks),
        Route("GET", "/v1/pools", "Pools with their reserves, by name.", show_all),
        Route("POST", "/v1/pools", "Make a pool.", create, body=PoolSchema, query=ChangeQuery, changes=True),
        Route("GET", "/v1/pools/{pool}", "One pool.", show),
        Route("DELETE", "/v1/pools/{pool}", "Give a pool's disks back.", delete, query=DestroyQuery, changes=True),
    )
