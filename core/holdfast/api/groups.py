"""`/v1/failover`, `/v1/groups` and `/v1/decisions`."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from holdfast.api.fields import Address, Name, NoFields, Port
from holdfast.api.jobs import LARGEST_PAGE
from holdfast.api.routes import Call, ChangeQuery, Page, PageQuery, Route, Started
from holdfast.hooks.failover import VirtualAddress
from holdfast.hooks.links import WITNESS_PORT, Link, WitnessHost
from holdfast.planning.addresses import MOST_PING_NODES, refuse_host, refuse_in_network
from holdfast.planning.failback import DEFAULT_AFTER_S, LEAST_AFTER_S, MOST_AFTER_S, Failback
from holdfast.services.documents import FailoverDocument, GroupDocument
from holdfast.services.groups.groups import Groups
from holdfast.services.groups.links import Links
from holdfast.values import to_plain

Interface = validate.Regexp(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}\Z")


class LinkSchema(Schema):
    """One network path for heartbeats, as seen from this node; the NIC has the same name on both nodes."""

    name = Name(required=True)
    interface = fields.String(required=True, validate=Interface)
    local_address = Address(required=True)
    peer_address = Address(required=True)
    port = Port(load_default=7788)


class WitnessSchema(Schema):
    """A third host on which `holdfast-witness` runs, and its certificate as PEM."""

    address = Address(required=True)
    port = Port(load_default=WITNESS_PORT)
    certificate = fields.String(required=True, validate=validate.Length(max=4096))


class FailoverSchema(Schema):
    """Links, ping nodes, and a witness if there is one."""

    links = fields.List(fields.Nested(LinkSchema), required=True, validate=validate.Length(min=1, max=16))
    ping_nodes = fields.List(
        Address(),
        required=True,
        validate=validate.Length(max=MOST_PING_NODES),
        metadata={"description": "None, one, or an odd number, of which a strict majority counts."},
    )
    witness = fields.Nested(
        WitnessSchema,
        load_default=None,
        allow_none=True,
        metadata={"description": "Without its word neither node goes on without the other; null: there is none."},
    )


class VirtualAddressSchema(Schema):
    """An address that moves with the group."""

    address = Address(required=True)
    prefix_length = fields.Integer(required=True, strict=True, validate=validate.Range(min=1, max=128))
    interface = fields.String(required=True, validate=Interface)

    @validates_schema(skip_on_field_errors=True)
    def _is_of_a_host(self, data: dict[str, Any], **keywords: Any) -> None:
        address, prefix_length = data["address"], data["prefix_length"]
        if prefix_length > ipaddress.ip_address(address).max_prefixlen:
            raise ValidationError("it is longer than the address", "prefix_length")
        why = refuse_host(address) or refuse_in_network(address, prefix_length)
        if why is not None:
            raise ValidationError(f"{why}: give one that a host may have", "address")


class GroupChangeSchema(Schema):
    """What a group serves."""

    mirror = Name(required=True)
    targets = fields.List(Name(), required=True, validate=validate.Length(max=64))
    addresses = fields.List(fields.Nested(VirtualAddressSchema), load_default=list, validate=validate.Length(max=16))


class GroupSchema(GroupChangeSchema):
    """A group to make. With automatic failback it goes back to the node it was made on once all is well for a while."""

    name = Name(required=True)
    failback = fields.Enum(Failback, by_value=True, load_default=Failback.MANUAL)
    failback_after_s = fields.Integer(
        strict=True, load_default=DEFAULT_AFTER_S, validate=validate.Range(min=LEAST_AFTER_S, max=MOST_AFTER_S)
    )


class SwitchSchema(Schema):
    """Where to; the other node if none is named."""

    to = Name(load_default=None, allow_none=True)


class PromoteSchema(Schema):
    """The group's name once more: the other node's data cannot be asked."""

    confirm = fields.String(required=True)


def _document(name: str, body: dict[str, Any], preferred: str) -> GroupDocument:
    return GroupDocument(
        name=name,
        revision=1,
        mirror=body["mirror"],
        targets=tuple(body["targets"]),
        addresses=tuple(VirtualAddress(**address) for address in body["addresses"]),
        preferred=preferred,
    )


def routes(groups: Groups, links: Links, node: str) -> tuple[Route, ...]:
    """The routes of these nouns."""

    async def show_links(call: Call) -> Any:
        document, status = await links.get()
        return {**to_plain(document), "monitor": to_plain(status)}

    async def set_links(call: Call) -> Started:
        witness = call.body["witness"]
        wanted = FailoverDocument(
            tuple(Link(**link) for link in call.body["links"]),
            tuple(call.body["ping_nodes"]),
            None if witness is None else WitnessHost(**witness),
        )
        return Started(await links.set(wanted, validate_only=call.validate_only))

    async def show_all(call: Call) -> Page:
        return Page(await groups.list())

    async def show(call: Call) -> Any:
        return await groups.get(call.path["group"])

    async def create(call: Call) -> Started:
        document = replace(
            _document(call.body["name"], call.body, node),
            failback=call.body["failback"],
            failback_after_s=call.body["failback_after_s"],
        )
        return Started(await groups.create(document, validate_only=call.validate_only))

    async def change(call: Call) -> Started:
        document = _document(call.path["group"], call.body, node)
        return Started(await groups.change(document, validate_only=call.validate_only))

    async def preflight(call: Call) -> Any:
        unmet = await groups.preflight(call.path["group"])
        return {"is_ready": not unmet, "unmet": [{"node": where, **to_plain(item)} for where, item in unmet]}

    async def switch(call: Call) -> Started:
        started = await groups.switch_over(call.path["group"], call.body["to"], validate_only=call.validate_only)
        return Started(started)

    async def promote(call: Call) -> Any:
        await groups.grant_promotion(call.path["group"], call.body["confirm"])
        return await groups.get(call.path["group"])

    async def decisions(call: Call) -> Page:
        after = int(call.query.get("page_token", 0))
        most = min(int(call.query["page_size"]), LARGEST_PAGE)
        found = (await groups.decisions(after))[:most]
        items = [{"number": number, **to_plain(decision)} for number, decision in found]
        return Page(items, str(found[-1][0]) if len(found) == most else None)

    def post(word: str, summary: str, act: Callable[..., Awaitable[str | None]]) -> Route:
        async def do(call: Call) -> Started:
            return Started(await act(call.path["group"], validate_only=call.validate_only))

        return Route("POST", f"{one}/{word}", summary, do, body=NoFields, query=ChangeQuery, changes=True)

    one = "/v1/groups/{group}"
    return (
        Route("GET", "/v1/failover", "Links and ping nodes, as set and as seen.", show_links),
        Route(
            "PUT", "/v1/failover", "Set them on both nodes.", set_links, FailoverSchema, query=ChangeQuery, changes=True
        ),
        Route("GET", "/v1/groups", "Failover groups as both monitors see them, by name.", show_all),
        Route("POST", "/v1/groups", "Make a group.", create, body=GroupSchema, query=ChangeQuery, changes=True),
        Route("GET", one, "One group.", show),
        Route("PUT", one, "Change a stopped group.", change, body=GroupChangeSchema, query=ChangeQuery, changes=True),
        post("start", "Serve it.", groups.start),
        post("stop", "Serve it no more.", groups.stop),
        post("failback", "Move it to its preferred node.", groups.fail_back),
        post("resync", "Bring the stale side up to date.", groups.resync),
        Route("DELETE", one, "Remove a stopped group.", _delete(groups), query=ChangeQuery, changes=True),
        Route("GET", f"{one}/preflight", "What stands between it and its start.", preflight),
        Route("POST", f"{one}/switchover", "Move it.", switch, body=SwitchSchema, query=ChangeQuery, changes=True),
        Route("POST", f"{one}/promote", "Serve it here although the partner is silent.", promote, body=PromoteSchema),
        Route("GET", "/v1/decisions", "What this node's monitor decided, and why.", decisions, query=PageQuery),
    )


def _delete(groups: Groups) -> Callable[[Call], Awaitable[Started]]:
    async def delete(call: Call) -> Started:
        return Started(await groups.delete(call.path["group"], validate_only=call.validate_only))

    return delete
