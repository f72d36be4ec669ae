"""`/v1/targets`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from holdfast.api.fields import Address, Iqn, Name, Port, SecretText, User
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, Route, Started
from holdfast.hooks.target import Portal
from holdfast.services.documents import TargetDocument, UnitDocument
from holdfast.services.targets import IQN_PREFIX, AccessWanted, Targets


class PortalSchema(Schema):
    """Where a target listens."""

    address = Address(required=True)
    port = Port(load_default=3260)


class UnitSchema(Schema):
    """One LUN. Some hypervisors want it not to be 0 in a failover pair (S42)."""

    lun = fields.Integer(required=True, strict=True, validate=validate.Range(min=0, max=255))
    volume = Name(required=True)
    serial = fields.String(load_default="", validate=validate.Regexp(r"[0-9a-f]{0,32}\Z"))


class ChapSchema(Schema):
    """Credentials of an initiator (RFC 7143 wants 12 characters at least)."""

    user = User(required=True)
    password = SecretText(required=True, shortest=12)


class AccessSchema(Schema):
    """An initiator that may log in."""

    initiator = Iqn(required=True)
    chap = fields.Nested(ChapSchema, load_default=None, allow_none=True)


class TargetSchema(Schema):
    """A target to make. Without portals it listens on the addresses of its group; without access nobody may log in."""

    name = Name(required=True)
    mirror = Name(required=True)
    iqn = Iqn(load_default=None, allow_none=True)
    portals = fields.List(fields.Nested(PortalSchema), load_default=list, validate=validate.Length(max=16))
    units = fields.List(fields.Nested(UnitSchema), required=True, validate=validate.Length(min=1, max=256))
    access = fields.List(fields.Nested(AccessSchema), load_default=list, validate=validate.Length(max=256))

    @validates_schema
    def _each_initiator_once(self, data: dict[str, Any], **keywords: Any) -> None:
        initiators = [item["initiator"] for item in data.get("access", [])]
        if len(set(initiators)) != len(initiators):
            raise ValidationError("an initiator occurs twice", "access")


def routes(targets: Targets) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def show_all(call: Call) -> Page:
        return Page(await targets.list())

    async def show(call: Call) -> Any:
        return await targets.get(call.path["target"])

    async def create(call: Call) -> Started:
        body = call.body
        wanted = TargetDocument(
            name=body["name"],
            iqn=body["iqn"] or f"{IQN_PREFIX}:{body['name']}",
            mirror=body["mirror"],
            units=tuple(UnitDocument(unit["lun"], unit["volume"], unit["serial"]) for unit in body["units"]),
            access=(),
            portals=tuple(Portal(portal["address"], portal["port"]) for portal in body["portals"]),
        )
        access = [
            AccessWanted(
                item["initiator"],
                item["chap"]["user"] if item["chap"] else None,
                item["chap"]["password"] if item["chap"] else None,
            )
            for item in body["access"]
        ]
        return Started(await targets.create(wanted, access, validate_only=call.validate_only))

    async def delete(call: Call) -> Started:
        await targets.get(call.path["target"])
        call.confirm(call.path["target"])
        return Started(await targets.delete(call.path["target"], validate_only=call.validate_only))

    one = "/v1/targets/{target}"
    return (
        Route("GET", "/v1/targets", "Targets as both nodes have them, by name.", show_all),
        Route("POST", "/v1/targets", "Make a target.", create, body=TargetSchema, query=ChangeQuery, changes=True),
        Route("GET", one, "One target.", show),
        Route("DELETE", one, "Remove a target from both nodes.", delete, query=DestroyQuery, changes=True),
    )
