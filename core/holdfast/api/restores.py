"""`/v1/replica-shares/{name}/files`, `…/restore`, `…/take-over`, `…/fail-back`, and `/v1/restore-openings`."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from holdfast.api.copying_fields import Certificate, TransportField
from holdfast.api.fields import Address, Name, NoFields, Port, SecretText, User
from holdfast.api.jobs import LARGEST_PAGE
from holdfast.api.replicas import DEFAULT_PORT
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, Route, Started
from holdfast.errors import InvalidError, Reason
from holdfast.services.copies.directions import Directions
from holdfast.services.copies.frozen import FrozenCopies
from holdfast.services.copies.replica_documents import Transport
from holdfast.services.copies.restore_openings import RestoreOpenings
from holdfast.services.copies.restores import Restores, RestoreWanted, Target
from holdfast.services.copies.transports import AgentAt
from holdfast.system import below

Handler = Callable[[Call], Awaitable[Any]]
MOST_PATHS = 10_000
LONGEST_PATH = 4096


class FolderPath(fields.String):
    """A path below a share, `/` between its names. What is no UTF-8 in a name is a lone surrogate, as Python has it."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(validate=validate.Length(max=LONGEST_PATH), **keywords)


class FilesQuery(Schema):
    """Which folder of a copy, as it is now or as a snapshot of its volume has it."""

    path = FolderPath(load_default="")
    snapshot = Name(load_default=None, allow_none=True)
    page_size = fields.Integer(validate=validate.Range(min=1), load_default=100)
    page_token = fields.String(validate=validate.Regexp(r"[A-Za-z0-9_=-]{1,512}\Z"), load_default=None)


class RestoreAgentSchema(Schema):
    """A replica share of another system to restore to, with its ID and password."""

    address = Address(required=True)
    port = Port(load_default=DEFAULT_PORT)
    replica_share = Name(required=True)
    user = User(required=True)
    password = SecretText(required=True)
    transport = TransportField(load_default=Transport.TLS)
    certificate = Certificate(load_default=None, allow_none=True)


class RestoreTargetSchema(Schema):
    """Where to: a share of this node, one of the partner, or what an agent offers."""

    share = Name()
    is_on_partner = fields.Boolean(truthy={True}, falsy={False}, load_default=False)
    agent = fields.Nested(RestoreAgentSchema)

    @validates_schema
    def _one_of_them(self, data: dict[str, Any], **keywords: Any) -> None:
        if ("share" in data) is ("agent" in data):
            raise ValidationError("give either a share or an agent", "share")
        if "agent" in data and data["is_on_partner"]:
            raise ValidationError("only a share is on the partner", "is_on_partner")


class RestoreSchema(Schema):
    """What is to be restored, from which state of the copy, and where to. Nothing is removed unless `deletes`."""

    is_all = fields.Boolean(truthy={True}, falsy={False}, load_default=False)
    paths = fields.List(FolderPath(), load_default=list, validate=validate.Length(max=MOST_PATHS))
    snapshot = Name(load_default=None, allow_none=True)
    into = fields.String(
        validate=validate.Regexp(r"([A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*)?\Z"), load_default=""
    )
    deletes = fields.Boolean(truthy={True}, falsy={False}, load_default=False)
    to = fields.Nested(RestoreTargetSchema, required=True)

    @validates_schema
    def _something(self, data: dict[str, Any], **keywords: Any) -> None:
        if data["is_all"] is bool(data["paths"]):
            raise ValidationError("give either paths or is_all", "paths")


class FailBackSchema(Schema):
    """Whether the source is to be the source again once it is equal."""

    returns = fields.Boolean(truthy={True}, falsy={False}, load_default=False)


def _wanted(call: Call) -> RestoreWanted:
    body, to = call.body, call.body["to"]
    agent = to.get("agent")
    target = Target(to.get("share"), to["is_on_partner"])
    if agent is not None:
        where = AgentAt(agent["address"], agent["port"], agent["transport"], agent["certificate"])
        target = Target(agent=where, replica_share=agent["replica_share"], user=agent["user"])
    return RestoreWanted(
        call.path["name"], target, tuple(body["paths"]), body["snapshot"], body["into"], deletes=body["deletes"]
    )


def _token_of(name: str) -> str:
    return base64.urlsafe_b64encode(os.fsencode(name)).decode()


def _name_of(token: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(token)
    except binascii.Error as reason:
        text = "this is no page token of ours"
        raise InvalidError(
            text, reasons=[Reason("bad-value", text, "use next_page_token as it came", "page_token")]
        ) from reason


def _shown(found: below.Found) -> dict[str, Any]:
    return {
        "name": found.name,
        "kind": found.kind,
        "size_bytes": found.size_bytes,
        "modified_at": datetime.fromtimestamp(found.modified_ns / 1e9, UTC),
        "mode": f"{found.mode:04o}",
        "owner": found.owner,
        "group": found.group,
    }


def routes(
    restores: Restores, frozen: FrozenCopies, openings: RestoreOpenings, directions: Directions
) -> tuple[Route, ...]:
    """The routes of these nouns."""

    async def files(call: Call) -> Page:
        query = call.query
        after = None if query["page_token"] is None else _name_of(query["page_token"])
        most = min(query["page_size"], LARGEST_PAGE)
        async with frozen.looking(call.path["name"], query["snapshot"]) as root:
            found, has_more = await asyncio.to_thread(below.page, root, query["path"], after=after, most=most)
        return Page([_shown(entry) for entry in found], _token_of(found[-1].name) if has_more else None)

    async def restore(call: Call) -> Started:
        wanted = _wanted(call)
        if wanted.deletes:
            call.confirm(wanted.target.name)
        return await start(call, wanted, is_preview=False)

    async def preview(call: Call) -> Started:
        return await start(call, _wanted(call), is_preview=True)

    async def start(call: Call, wanted: RestoreWanted, *, is_preview: bool) -> Started:
        password = call.body["to"].get("agent", {}).get("password")
        job = await restores.start(wanted, password, is_preview=is_preview, validate_only=call.validate_only)
        return Started(job)

    async def take_over(call: Call) -> Started:
        return Started(await directions.take_over(call.path["name"], validate_only=call.validate_only))

    async def fail_back(call: Call) -> Started:
        job = await directions.fail_back(
            call.path["name"],
            call.query.get("confirm"),
            returns=call.body["returns"],
            validate_only=call.validate_only,
        )
        return Started(job)

    async def direction(call: Call) -> Any:
        await frozen.place(call.path["name"])
        return await directions.of_replica(call.path["name"])

    async def show_openings(call: Call) -> Page:
        return Page(
            [
                {"name": o.name, "share": o.share, "source": o.source, "node": o.node, "opened_at": o.opened_at}
                for o in await openings.list()
            ]
        )

    async def close(call: Call) -> Started:
        call.confirm(call.path["name"])
        return Started(await openings.close_by_hand(call.path["name"], validate_only=call.validate_only))

    one = "/v1/replica-shares/{name}"
    return (
        Route("GET", f"{one}/files", "A folder of the copy, by name.", files, query=FilesQuery),
        _change("POST", f"{one}/preview-restore", "What a restore would do.", preview, RestoreSchema),
        _destroy("POST", f"{one}/restore", "Restore from the copy.", restore, RestoreSchema),
        Route("GET", f"{one}/direction", "Which end has the newer data.", direction),
        _change("POST", f"{one}/take-over", "Use the data here; take no copies.", take_over, NoFields),
        _destroy("POST", f"{one}/fail-back", "Bring the source up to date.", fail_back, FailBackSchema),
        Route("GET", "/v1/restore-openings", "Shares that take a restore now.", show_openings),
        _destroy("DELETE", "/v1/restore-openings/{name}", "Close one that is left over.", close, None),
    )


def _change(method: str, path: str, summary: str, handler: Handler, body: type[Schema]) -> Route:
    return Route(method, path, summary, handler, body=body, query=ChangeQuery, changes=True)


def _destroy(method: str, path: str, summary: str, handler: Handler, body: type[Schema] | None) -> Route:
    return Route(method, path, summary, handler, body=body, query=DestroyQuery, changes=True)
