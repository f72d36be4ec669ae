"""`/v1/node`, `/v1/pairing`, `/v1/plugins`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.fields import Address, NoFields, Port
from holdfast.api.routes import Call, ChangeQuery, DestroyQuery, Page, Route, Started
from holdfast.services.drivers import Drivers
from holdfast.services.nodes.maintenance import Maintenance
from holdfast.services.nodes.nodes import Nodes
from holdfast.services.nodes.replacement import NodeReplacement
from holdfast.services.reconcile import Reconciler
from holdfast.values import to_plain


class JoinSchema(Schema):
    """Where the other node shows a code, and the code."""

    address = Address(required=True)
    port = Port(load_default=8445)
    code = fields.String(required=True, validate=validate.Length(min=1, max=64), load_only=True)


def routes(
    nodes: Nodes, replacement: NodeReplacement, drivers: Drivers, reconciler: Reconciler, maintenance: Maintenance
) -> tuple[Route, ...]:
    """The routes of these nouns."""

    async def show(call: Call) -> Any:
        marks = to_plain(await maintenance.marks())
        return {**to_plain(await nodes.get()), "drift": list(reconciler.drift), "in_maintenance": marks}

    async def offer(call: Call) -> Any:
        made = await nodes.offer_pairing()
        # The one place where a code is shown: to who asked for it.
        return {**to_plain(made), "code": made.code.reveal()}

    async def join(call: Call) -> Any:
        return await nodes.join(call.body["address"], call.body["port"], call.body["code"])

    async def give_up(call: Call) -> Started:
        call.confirm(nodes.partner_name())
        return Started(await replacement.give_up(validate_only=call.validate_only))

    async def rebuild(call: Call) -> Started:
        return Started(await replacement.rebuild(validate_only=call.validate_only))

    async def plugins(call: Call) -> Page:
        return Page(drivers.reports)

    return (
        Route("GET", "/v1/node", "This node, its partner, and what drifted from intent.", show),
        Route(
            "POST",
            "/v1/pairing/offer",
            "Show a one-time code to pair with.",
            offer,
            body=NoFields,
            status=201,
            shows_secret=True,
        ),
        Route("POST", "/v1/pairing/join", "Pair with the node that shows a code.", join, body=JoinSchema, status=201),
        Route(
            "POST",
            "/v1/pairing/give-up",
            "The partner is lost for good: go on alone, until another machine of its name takes its place.",
            give_up,
            body=NoFields,
            query=DestroyQuery,
            changes=True,
        ),
        Route(
            "POST",
            "/v1/pairing/rebuild",
            "Make the new partner what the lost one was.",
            rebuild,
            body=NoFields,
            query=ChangeQuery,
            changes=True,
        ),
        Route("GET", "/v1/plugins", "Every plugin, its state and the reasons, by name.", plugins),
    )
