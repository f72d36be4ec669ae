"""`/v1/mirrors`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.fields import Name, NoFields
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, Route, Started
from holdfast.services.mirrors import FirstSync, Mirrors


class MirrorSchema(Schema):
    """A mirror to make, from volumes of this node, its source.

    The partner's volumes are made, but for those that `destination_volumes` names among the ones that it has.
    """

    name = Name(required=True)
    volumes = fields.List(Name(), required=True, validate=validate.Length(min=1, max=64))
    first_sync = fields.Enum(FirstSync, by_value=True, required=True)
    destination_volumes = fields.Dict(keys=Name(), values=Name(), load_default=dict)


def routes(mirrors: Mirrors) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def show_all(call: Call) -> Page:
        return Page(await mirrors.list())

    async def show(call: Call) -> Any:
        return await mirrors.get(call.path["mirror"])

    async def create(call: Call) -> Started:
        body = call.body
        volumes = tuple(dict.fromkeys(body["volumes"]))
        first_sync, chosen = body["first_sync"], body["destination_volumes"]
        return Started(
            await mirrors.create(body["name"], volumes, first_sync, chosen, validate_only=call.validate_only)
        )

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
    )
