"""`/v1/agent` and `/v1/replica-shares`: the destination of data replication."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from holdfast.api.fields import Address, Name, Port, SecretText, User
from holdfast.api.routes import Call, ChangeQuery, Page, Route, Started
from holdfast.hooks.replication import AgentSpec
from holdfast.services.documents import AgentDocument, ReplicaShareDocument
from holdfast.services.replicas import Replicas
from holdfast.values import to_plain

DEFAULT_PORT = 8873


class AgentSchema(Schema):
    """Whether and where this node accepts copies."""

    is_enabled = fields.Boolean(required=True, truthy={True}, falsy={False})
    address = Address()
    port = Port(load_default=DEFAULT_PORT)

    @validates_schema
    def _needs_address(self, data: dict[str, Any], **keywords: Any) -> None:
        if data.get("is_enabled") and "address" not in data:
            raise ValidationError("an enabled agent needs an address of this node", "address")


class BrowseSchema(Schema):
    """The agent to ask."""

    address = Address(required=True)
    port = Port(load_default=DEFAULT_PORT)


class ReplicaShareSchema(Schema):
    """A share to open as a destination, with an ID and a password of its own."""

    name = Name(required=True)
    share = Name(required=True)
    user = User(required=True)
    password = SecretText(required=True, shortest=8)
    allowed_sources = fields.List(Address(), required=True, validate=validate.Length(min=1, max=64))


def _shown(document: ReplicaShareDocument) -> dict[str, Any]:
    return {key: value for key, value in to_plain(document).items() if key != "password"}


def routes(replicas: Replicas) -> tuple[Route, ...]:
    """The routes of these nouns."""

    async def show_agent(call: Call) -> Any:
        agent, is_running = await replicas.agent()
        return {
            "is_enabled": agent is not None,
            "address": agent.address if agent else None,
            "port": agent.port if agent else None,
            "is_running": is_running,
        }

    async def set_agent(call: Call) -> Started:
        body = call.body
        wanted = AgentDocument(body["address"], body["port"]) if body["is_enabled"] else None
        return Started(await replicas.set_agent(wanted, validate_only=call.validate_only))

    async def browse(call: Call) -> Page:
        return Page(await replicas.browse(AgentSpec(call.body["address"], call.body["port"])))

    async def show_all(call: Call) -> Page:
        return Page([_shown(document) for document in await replicas.list()])

    async def show(call: Call) -> Any:
        return _shown(await replicas.get(call.path["name"]))

    async def create(call: Call) -> Started:
        body = call.body
        wanted = ReplicaShareDocument(body["name"], body["share"], body["user"], "", tuple(body["allowed_sources"]))
        return Started(await replicas.create(wanted, body["password"], validate_only=call.validate_only))

    async def delete(call: Call) -> Started:
        return Started(await replicas.delete(call.path["name"], validate_only=call.validate_only))

    many, one = "/v1/replica-shares", "/v1/replica-shares/{name}"
    return (
        Route("GET", "/v1/agent", "Where this node accepts copies.", show_agent),
        Route(
            "PUT", "/v1/agent", "Enable or disable the agent.", set_agent, AgentSchema, query=ChangeQuery, changes=True
        ),
        Route("POST", "/v1/agent/browse", "What another system's agent offers.", browse, body=BrowseSchema),
        Route("GET", many, "Shares opened as destinations, by name.", show_all),
        Route("POST", many, "Open a share.", create, body=ReplicaShareSchema, query=ChangeQuery, changes=True),
        Route("GET", one, "One replica share.", show),
        Route("DELETE", one, "Close it; the copy stays.", delete, query=ChangeQuery, changes=True),
    )
