"""`/v1/targets`, and what the kernel exports beside them."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from holdfast.api.access import AccessSchema, access_wanted
from holdfast.api.fields import Address, Initiator, Name, Port, TargetName
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, Route, Started
from holdfast.hooks.target import Portal
from holdfast.services.documents import TargetDocument, UnitDocument
from holdfast.services.targets.identity import TargetIdentity
from holdfast.services.targets.targets import IQN_PREFIX, Targets

INQUIRY = r"[!-~]([ -~]*[!-~])?\Z"


class PortalSchema(Schema):
    """Where a target listens."""

    address = Address(required=True)
    port = Port(load_default=3260)


class UnitSchema(Schema):
    """One LUN. Some hypervisors want it not to be 0 in a failover pair (S42)."""

    lun = fields.Integer(required=True, strict=True, validate=validate.Range(min=0, max=255))
    volume = Name(required=True)
    serial = fields.String(
        load_default="",
        validate=validate.Regexp(r"([0-9a-f]{16,32})?\Z", error="16 to 32 hexadecimal digits in small letters"),
        metadata={"description": "the SCSI serial, of which the NAA identifier is made; by default one is made"},
    )
    is_read_only = fields.Boolean(load_default=False, truthy={True}, falsy={False})
    vendor = fields.String(load_default="HOLDFAST", validate=[validate.Length(1, 8), validate.Regexp(INQUIRY)])
    product = fields.String(load_default="volume", validate=[validate.Length(1, 16), validate.Regexp(INQUIRY)])
    block_size_bytes = fields.Integer(load_default=512, strict=True, validate=validate.OneOf([512, 1024, 2048, 4096]))
    may_unmap = fields.Boolean(load_default=False, truthy={True}, falsy={False})
    optimal_blocks = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=validate.Range(min=1, max=2**31 - 1)
    )
    has_write_cache = fields.Boolean(
        load_default=False,
        truthy={True},
        falsy={False},
        metadata={
            "description": "of a volume with file I/O only: answer writes before they are on the disk. RISK: what an "
            "initiator was told is written and did not flush is lost with the power or the node. Never in a "
            "failover group"
        },
    )


class TargetChangeSchema(Schema):
    """What a target exports and to whom; what is not named is taken out. Passwords that are not given stay.

    Without portals a target over a mirror listens on the addresses of its group; without access nobody may log in.
    """

    mirror = Name(load_default=None, allow_none=True)
    iqn = TargetName(load_default=None, allow_none=True)
    portals = fields.List(fields.Nested(PortalSchema), load_default=list, validate=validate.Length(max=16))
    units = fields.List(fields.Nested(UnitSchema), required=True, validate=validate.Length(min=1, max=256))
    access = fields.List(fields.Nested(AccessSchema), load_default=list, validate=validate.Length(max=256))
    initiator_groups = fields.List(Name(), load_default=list, validate=validate.Length(max=64))
    is_open = fields.Boolean(
        load_default=False,
        truthy={True},
        falsy={False},
        metadata={"description": "whether anybody may log in and write, without a password"},
    )

    @validates_schema
    def _each_initiator_once(self, data: dict[str, Any], **keywords: Any) -> None:
        initiators = [item["initiator"] for item in data.get("access", [])]
        if len(set(initiators)) != len(initiators):
            raise ValidationError("an initiator occurs twice", "access")


class TargetSchema(TargetChangeSchema):
    """A target to make."""

    name = Name(required=True)


class CloseSchema(Schema):
    """Whose sessions to close."""

    initiator = Initiator(required=True)


def _document(name: str, body: dict[str, Any], iqn: str) -> TargetDocument:
    return TargetDocument(
        name=name,
        iqn=iqn,
        mirror=body["mirror"],
        units=tuple(UnitDocument(**unit) for unit in body["units"]),
        access=(),
        portals=tuple(Portal(portal["address"], portal["port"]) for portal in body["portals"]),
        initiator_groups=tuple(body["initiator_groups"]),
        is_open=body["is_open"],
    )


def routes(targets: Targets, identity: TargetIdentity) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def show_all(call: Call) -> Page:
        return Page(await targets.list())

    async def show_foreign(call: Call) -> Page:
        return Page(await targets.foreign())

    async def show(call: Call) -> Any:
        return await targets.get(call.path["target"])

    async def show_identity(call: Call) -> Any:
        return await identity.of(call.path["target"])

    async def show_profile(call: Call) -> Any:
        return await targets.initiator_profile(call.path["target"])

    async def create(call: Call) -> Started:
        body = call.body
        wanted = _document(body["name"], body, body["iqn"] or f"{IQN_PREFIX}:{body['name']}")
        access = [access_wanted(item) for item in body["access"]]
        return Started(await targets.create(wanted, access, validate_only=call.validate_only))

    async def change(call: Call) -> Started:
        name, body = call.path["target"], call.body
        wanted = _document(name, body, body["iqn"] or (await targets.get(name)).iqn)
        access = [access_wanted(item) for item in body["access"]]
        return Started(await targets.change(wanted, access, validate_only=call.validate_only))

    async def delete(call: Call) -> Started:
        await targets.get(call.path["target"])
        call.confirm(call.path["target"])
        return Started(await targets.delete(call.path["target"], validate_only=call.validate_only))

    async def close(call: Call) -> Any:
        await targets.close_session(call.path["target"], call.body["initiator"])
        return await targets.get(call.path["target"])

    one = "/v1/targets/{target}"
    return (
        Route("GET", "/v1/targets", "Targets as both nodes have them, by name.", show_all),
        Route("GET", "/v1/foreign-targets", "Targets in the kernel that Holdfast did not make.", show_foreign),
        Route("POST", "/v1/targets", "Make a target.", create, body=TargetSchema, query=ChangeQuery, changes=True),
        Route("GET", one, "One target, with who is logged in.", show),
        Route(
            "PUT", one, "Change a target that serves.", change, body=TargetChangeSchema, query=ChangeQuery, changes=True
        ),
        Route("DELETE", one, "Remove a target.", delete, query=DestroyQuery, changes=True),
        Route("GET", f"{one}/identity", "How a target compares with the kernels of both nodes.", show_identity),
        Route("GET", f"{one}/initiator-profile", "What its initiators are to be set to.", show_profile),
        Route("POST", f"{one}/close-session", "Close an initiator's sessions.", close, body=CloseSchema),
    )
