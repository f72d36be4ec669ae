"""`/v1/mirrors`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.fields import Name, NoFields, Rate
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, Route, Started
from holdfast.services.mirrors.link import MirrorLink
from holdfast.services.mirrors.mirrors import Mirrors
from holdfast.services.mirrors.wanted import FirstSync, MirrorWanted


class MirrorSchema(Schema):
    """A mirror to make, from volumes of this node, its source.

    The partner's volumes are made, but for those that `destination_volumes` names among the ones that it has. With
    `first_sync` zero each node zeroes no more than `zero_limit_bytes_s` in a second, if that is given.
    """

    name = Name(required=True)
    volumes = fields.List(Name(), required=True, validate=validate.Length(min=1, max=64))
    first_sync = fields.Enum(FirstSync, by_value=True, required=True)
    destination_volumes = fields.Dict(keys=Name(), values=Name(), load_default=dict)
    zero_limit_bytes_s = Rate(load_default=None, allow_none=True)


def routes(mirrors: Mirrors, link: MirrorLink) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def show_all(call: Call) -> Page:
        return Page(await mirrors.list())

    async def show(call: Call) -> Any:
        return await mirrors.get(call.path["mirror"])

    async def create(call: Call) -> Started:
        body = call.body
        volumes = tuple(dict.fromkeys(body["volumes"]))
        chosen, limit_bytes_s = body["destination_volumes"], body["zero_limit_bytes_s"]
        wanted = MirrorWanted(body["name"], volumes, body["first_sync"], chosen, limit_bytes_s)
        job = await mirrors.create(wanted, validate_only=call.validate_only)
        return Started(job, await link.warnings(volumes) if call.validate_only else ())

    async def delete(call: Call) -> Started:
        await mirrors.get(call.path["mirror"])
        call.confirm(call.path["mirror"])
        return Started(await mirrors.delete(call.path["mirror"], validate_only=call.validate_only))

    def verb(act: Callable[..., Awaitable[str | None]]) -> Callable[[Call], Awaitable[Started]]:
        async def do(call: Call) -> Started:
            return Started(await act(call.path["mirror"], validate_only=call.validate_only))

        return do

    def post(word: str, summary: str, act: Callable[..., Awaitable[str | None]]) -> Route:
        path = f"{one}/{word}"
        return Route("POST", path, summary, verb(act), body=NoFields, query=ChangeQuery, changes=True)

    one = "/v1/mirrors/{mirror}"
    return (
        Route("GET", "/v1/mirrors", "Mirrors as both nodes see them, by name.", show_all),
        Route("POST", "/v1/mirrors", "Make a mirror.", create, body=MirrorSchema, query=ChangeQuery, changes=True),
        Route("GET", one, "One mirror.", show),
        Route("DELETE", one, "Take it apart; the volumes stay.", delete, query=DestroyQuery, changes=True),
        post("start", "Connect both sides.", mirrors.start),
        post("stop", "Disconnect both sides.", mirrors.stop),
        post("measure-link", "Measure the link beside the disks, for a second.", link.measure),
    )
