"""`/v1/agent` and `/v1/replica-shares`: the destination of data replication."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from holdfast.api.copying_fields import Bandwidth, Certificate, TransportField, as_values
from holdfast.api.fields import Address, Name, Port, SecretText, User
from holdfast.api.routes import Call, ChangeQuery, Page, Route, Started
from holdfast.services.copies.ages import CopyAges, ReplicaView
from holdfast.services.copies.replica_changes import DEFAULT_GRACE_S, LONGEST_GRACE_S, ReplicaChanges
from holdfast.services.copies.replica_documents import AgentDocument, ReplicaShareDocument, Transport
from holdfast.services.copies.replicas import Replicas
from holdfast.services.copies.transports import Transports
from holdfast.values import to_plain

DEFAULT_PORT = 8873


class AgentSchema(Schema):
    """Whether and where this node accepts copies."""

    is_enabled = fields.Boolean(required=True, truthy={True}, falsy={False})
    address = Address()
    port = Port(load_default=DEFAULT_PORT)
    transport = TransportField(load_default=Transport.TLS)

    @validates_schema
    def _needs_address(self, data: dict[str, Any], **keywords: Any) -> None:
        if data.get("is_enabled") and "address" not in data:
            raise ValidationError("an enabled agent needs an address of this node", "address")


class BrowseSchema(Schema):
    """The agent to ask."""

    address = Address(required=True)
    port = Port(load_default=DEFAULT_PORT)
    transport = TransportField(load_default=Transport.TLS)
    certificate = Certificate(load_default=None, allow_none=True)


class ReplicaShareSchema(Schema):
    """A share to open as a destination, with an ID and a password of its own."""

    name = Name(required=True)
    share = Name(required=True)
    user = User(required=True)
    password = SecretText(required=True, shortest=8)
    allowed_sources = fields.List(Address(), required=True, validate=validate.Length(min=1, max=64))
    source_certificates = fields.List(
        Certificate(),
        load_default=list,
        validate=validate.Length(max=64),
        metadata={"description": "of sources that are neither this node nor its partner"},
    )
    bandwidth_bytes_s = Bandwidth(load_default=None)


class ReplicaShareChangeSchema(Schema):
    """What to change; what is not given stays."""

    allowed_sources = fields.List(Address(), validate=validate.Length(min=1, max=64))
    source_certificates = fields.List(Certificate(), validate=validate.Length(max=64))
    bandwidth_bytes_s = Bandwidth()

    @validates_schema
    def _says_something(self, data: dict[str, Any], **keywords: Any) -> None:
        if not data:
            raise ValidationError("give what is to change", "bandwidth_bytes_s")


class RotationSchema(Schema):
    """A new password, and for how long the one before it is accepted, too."""

    password = SecretText(required=True, shortest=8)
    grace_s = fields.Integer(
        strict=True, load_default=DEFAULT_GRACE_S, validate=validate.Range(min=0, max=LONGEST_GRACE_S)
    )


def _shown(view: ReplicaView) -> dict[str, Any]:
    hidden = ("password", "former_password")
    document = {key: value for key, value in to_plain(view.document).items() if key not in hidden}
    return {
        **document,
        "task": view.copy.note.task if view.copy else None,
        "source": view.copy.note.source if view.copy else None,
        "newest_copy_at": view.age.newest_copy_at,
        "copy_age_s": view.age.copy_age_s,
        "objective_s": view.age.objective_s,
        "is_objective_missed": view.age.is_missed,
        "alerts": view.alerts,
    }


def routes(replicas: Replicas, changes: ReplicaChanges, transports: Transports, ages: CopyAges) -> tuple[Route, ...]:
    """The routes of these nouns."""

    async def show_agent(call: Call) -> Any:
        agent, is_running = await replicas.agent()
        return {
            "is_enabled": agent is not None,
            "address": agent.address if agent else None,
            "port": agent.port if agent else None,
            "transport": agent.transport if agent else None,
            "is_running": is_running,
        }

    async def set_agent(call: Call) -> Started:
        body = call.body
        where = (body["address"], body["port"], body["transport"]) if body["is_enabled"] else None
        wanted = AgentDocument(*where) if where else None
        return Started(await replicas.set_agent(wanted, validate_only=call.validate_only))

    async def browse(call: Call) -> Page:
        body = call.body
        return Page(await replicas.browse(body["address"], body["port"], body["transport"], body["certificate"]))

    async def certificate(call: Call) -> Any:
        return {"certificate": await transports.certificate()}

    async def show_all(call: Call) -> Page:
        return Page([_shown(view) for view in await ages.replicas()])

    async def show(call: Call) -> Any:
        return _shown(await ages.replica(call.path["name"]))

    async def create(call: Call) -> Started:
        body = as_values(call.body)
        secret = body.pop("password")
        wanted = ReplicaShareDocument(**body, password="")
        return Started(await replicas.create(wanted, secret, validate_only=call.validate_only))

    async def change(call: Call) -> Started:
        wanted = as_values(call.body)
        return Started(await changes.change(call.path["name"], wanted, validate_only=call.validate_only))

    async def rotate(call: Call) -> Started:
        body = call.body
        return Started(
            await changes.rotate(call.path["name"], body["password"], body["grace_s"], validate_only=call.validate_only)
        )

    async def delete(call: Call) -> Started:
        return Started(await replicas.delete(call.path["name"], validate_only=call.validate_only))

    many, one = "/v1/replica-shares", "/v1/replica-shares/{name}"
    return (
        Route("GET", "/v1/agent", "Where this node accepts copies.", show_agent),
        Route(
            "PUT", "/v1/agent", "Enable or disable the agent.", set_agent, AgentSchema, query=ChangeQuery, changes=True
        ),
        Route("POST", "/v1/agent/browse", "What another system's agent offers.", browse, body=BrowseSchema),
        Route("GET", "/v1/agent/certificate", "This node's certificate, for a system to pin.", certificate),
        Route("GET", many, "Shares opened as destinations, by name.", show_all),
        Route("POST", many, "Open a share.", create, body=ReplicaShareSchema, query=ChangeQuery, changes=True),
        Route("GET", one, "One replica share, and how old what it holds is.", show),
        Route(
            "PATCH",
            one,
            "Change who may connect and how fast; a copy under way goes on.",
            change,
            body=ReplicaShareChangeSchema,
            query=ChangeQuery,
            changes=True,
        ),
        Route(
            "POST",
            f"{one}/rotate",
            "Give it a new password; the old one is accepted for a while, and the partner is told.",
            rotate,
            body=RotationSchema,
            query=ChangeQuery,
            changes=True,
        ),
        Route("DELETE", one, "Close it; the copy stays.", delete, query=ChangeQuery, changes=True),
    )
