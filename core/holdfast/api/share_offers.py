"""`/v1/shares/{share}/smb`, `/nfs` and `/sessions`: a share offered to clients."""

from __future__ import annotations

import ipaddress
import uuid
from functools import partial
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from holdfast.api.fields import Name
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, Route, Started
from holdfast.hooks.share import SNAPSHOTS_FOLDER, NfsClient, NfsExposure, SmbExposure, Squash
from holdfast.services.shares.accounts import ShareAccounts
from holdfast.services.shares.documents import NfsOfferDocument, SmbOfferDocument
from holdfast.services.shares.offers import OfferView, ShareOffers
from holdfast.services.shares.shares import Shares
from holdfast.values import to_plain


class Network(fields.String):
    """An address or a network, in its canonical form."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> str:
        text = str(super()._deserialize(value, attr, data, **keywords))
        try:
            found = ipaddress.ip_network(text)
        except ValueError as reason:
            raise ValidationError("an address or a network is needed, such as 10.0.0.7 or 10.0.0.0/24") from reason
        return str(found.network_address) if found.num_addresses == 1 else str(found)


def _switch(description: str) -> Any:
    return fields.Boolean(load_default=False, truthy={True}, falsy={False}, metadata={"description": description})


def _names(description: str) -> Any:
    return fields.List(
        Name(), load_default=list, validate=validate.Length(max=1000), metadata={"description": description}
    )


class SmbOfferSchema(Schema):
    """How a share is offered by SMB. Who is in no list has no access."""

    read_users = _names("Users who may read.")
    read_groups = _names("Groups whose members may read.")
    write_users = _names("Users who may read and write.")
    write_groups = _names("Groups whose members may read and write.")
    is_read_only = _switch("Nobody writes, whatever the lists say.")
    is_hidden = _switch("It is not shown to who browses.")
    shows_snapshots = _switch("Clients see the snapshots of its volume, as its former versions.")


class NfsClientSchema(Schema):
    """Hosts that may mount a share."""

    network = Network(required=True)
    is_read_only = _switch("They do not write.")
    squash = fields.Enum(Squash, by_value=True, load_default=Squash.ROOT)

    @post_load
    def _make(self, data: dict[str, Any], **keywords: Any) -> NfsClient:
        return NfsClient(**data)


class NfsOfferSchema(Schema):
    """How a share is offered by NFS. Who is in no network has no access; 0.0.0.0/0 is everybody."""

    clients = fields.List(fields.Nested(NfsClientSchema), load_default=list, validate=validate.Length(max=256))
    is_read_only = _switch("Nobody writes, whatever the networks say.")
    shows_snapshots = _switch(f"Clients see the snapshots of its volume, in the folder `{SNAPSHOTS_FOLDER}`.")

    @validates_schema
    def _no_network_twice(self, data: dict[str, Any], **keywords: Any) -> None:
        networks = [client.network for client in data.get("clients", ())]
        if twice := {network for network in networks if networks.count(network) > 1}:
            raise ValidationError(f"named twice: {', '.join(sorted(twice))}", "clients")


def _shown(view: OfferView[Any]) -> dict[str, Any]:
    wanted = to_plain(view.wanted)
    return {
        **wanted,
        "is_replica": view.is_replica,
        "actual": view.actual,
        "drift": view.drift,
        "snapshots": view.snapshots,
    }


def routes(
    smb: ShareOffers[SmbExposure], nfs: ShareOffers[NfsExposure], accounts: ShareAccounts, shares: Shares
) -> tuple[Route, ...]:
    """The routes of these nouns."""

    async def show(offers: ShareOffers[Any], call: Call) -> Any:
        return _shown(await offers.get(call.path["share"]))

    async def offer_smb(call: Call) -> Started:
        lists: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in call.body.items()
        }
        document = SmbOfferDocument(call.path["share"], **lists)
        known = partial(accounts.refuse_unknown, users=document.names("users"), groups=document.names("groups"))
        return Started(await smb.offer(document, refuse=known, validate_only=call.validate_only))

    async def offer_nfs(call: Call) -> Started:
        share, clients = call.path["share"], tuple(call.body["clients"])
        fsid = (await nfs.kept(share) or NfsOfferDocument(share, str(uuid.uuid4()))).fsid
        document = NfsOfferDocument(share, fsid, clients, call.body["is_read_only"], call.body["shows_snapshots"])
        return Started(await nfs.offer(document, validate_only=call.validate_only))

    async def withdraw(offers: ShareOffers[Any], call: Call) -> Started:
        share = call.path["share"]
        is_confirmed = call.query.get("confirm") == share
        return Started(await offers.withdraw(share, is_confirmed=is_confirmed, validate_only=call.validate_only))

    async def sessions(call: Call) -> Page:
        share = call.path["share"]
        await shares.get(share)
        found = [(offers.protocol, session) for offers in (smb, nfs) for session in await offers.sessions(share)]
        return Page([{"protocol": protocol, **to_plain(session)} for protocol, session in found])

    one = "/v1/shares/{share}"
    away = "Offer a share by {} no more. Refused while clients hold files open, unless it is confirmed."
    return (
        Route("GET", f"{one}/smb", "How a share is offered by SMB.", partial(show, smb)),
        Route(
            "PUT",
            f"{one}/smb",
            "Offer a share by SMB, or change how. Who may do as much as before notices nothing.",
            offer_smb,
            body=SmbOfferSchema,
            query=ChangeQuery,
            changes=True,
        ),
        Route("DELETE", f"{one}/smb", away.format("SMB"), partial(withdraw, smb), query=DestroyQuery, changes=True),
        Route("GET", f"{one}/nfs", "How a share is offered by NFS.", partial(show, nfs)),
        Route(
            "PUT",
            f"{one}/nfs",
            "Offer a share by NFS, or change how. Who may do as much as before notices nothing.",
            offer_nfs,
            body=NfsOfferSchema,
            query=ChangeQuery,
            changes=True,
        ),
        Route("DELETE", f"{one}/nfs", away.format("NFS"), partial(withdraw, nfs), query=DestroyQuery, changes=True),
        Route("GET", f"{one}/sessions", "Who uses a share, and what they hold open.", sessions),
    )
