"""`/v1/initiator-groups` and `/v1/discovery-auth`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.access import AccessSchema, ChapSchema, access_wanted, chap_wanted
from holdfast.api.fields import Name
from holdfast.api.routes import Call, ChangeQuery, Page, Route, Started
from holdfast.services.targets.discovery import Discovery
from holdfast.services.targets.initiators import Initiators


class InitiatorGroupChangeSchema(Schema):
    """Who is in a group of initiators."""

    members = fields.List(fields.Nested(AccessSchema), required=True, validate=validate.Length(max=256))


class InitiatorGroupSchema(InitiatorGroupChangeSchema):
    """A group of initiators to make."""

    name = Name(required=True)


class DiscoverySchema(Schema):
    """What an initiator must know to be told which targets there are; null: nothing."""

    chap = fields.Nested(ChapSchema, required=True, allow_none=True)


def routes(initiators: Initiators, discovery_auth: Discovery) -> tuple[Route, ...]:
    """The routes of these nouns."""

    async def show_all(call: Call) -> Page:
        return Page(await initiators.list())

    async def show(call: Call) -> Any:
        return await initiators.get(call.path["name"])

    async def create(call: Call) -> Started:
        members = [access_wanted(item) for item in call.body["members"]]
        return Started(await initiators.create(call.body["name"], members, validate_only=call.validate_only))

    async def change(call: Call) -> Started:
        members = [access_wanted(item) for item in call.body["members"]]
        return Started(await initiators.change(call.path["name"], members, validate_only=call.validate_only))

    async def delete(call: Call) -> Started:
        return Started(await initiators.delete(call.path["name"], validate_only=call.validate_only))

    async def show_discovery(call: Call) -> Any:
        return await discovery_auth.get()

    async def set_discovery(call: Call) -> Started:
        wanted = chap_wanted(call.body["chap"])
        return Started(await discovery_auth.set(wanted, validate_only=call.validate_only))

    many, one, discovery = "/v1/initiator-groups", "/v1/initiator-groups/{name}", "/v1/discovery-auth"
    put: dict[str, Any] = {"query": ChangeQuery, "changes": True}
    return (
        Route("GET", many, "Named groups of initiators.", show_all),
        Route("POST", many, "Name a group of initiators.", create, body=InitiatorGroupSchema, **put),
        Route("GET", one, "One group, and the targets that let it in.", show),
        Route("PUT", one, "Say anew who is in a group.", change, body=InitiatorGroupChangeSchema, **put),
        Route("DELETE", one, "Forget a group.", delete, **put),
        Route("GET", discovery, "What discovery asks initiators for.", show_discovery),
        Route("PUT", discovery, "Set what discovery asks for.", set_discovery, body=DiscoverySchema, **put),
    )
