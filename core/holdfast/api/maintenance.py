"""`/v1/node/maintenance` and `/v1/node/drain`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.fields import NoFields
from holdfast.api.routes import Call, ChangeQuery, Route, Started
from holdfast.services.nodes.maintenance import Maintenance


class MaintenanceSchema(Schema):
    """Why, in a person's words: they are shown wherever the mark is."""

    reason = fields.String(load_default="", validate=validate.Length(max=200))


class DrainSchema(Schema):
    """For how long a next group is begun with; what is not moved by then stays."""

    within_s = fields.Float(load_default=60.0, validate=validate.Range(min=1, max=600))


def routes(maintenance: Maintenance) -> tuple[Route, ...]:
    """The routes of a node that is worked on."""

    async def begin(call: Call) -> Started:
        return Started(await maintenance.begin(call.body["reason"], validate_only=call.validate_only))

    async def end(call: Call) -> Started:
        return Started(await maintenance.end(validate_only=call.validate_only))

    async def drain(call: Call) -> Started:
        return Started(await maintenance.drain(call.body["within_s"], validate_only=call.validate_only))

    def post(path: str, summary: str, handler: Any, body: type[Schema] = NoFields) -> Route:
        return Route("POST", path, summary, handler, body=body, query=ChangeQuery, changes=True)

    one = "/v1/node/maintenance"
    return (
        post(one, "Hand over what this node serves; then it begins nothing by itself.", begin, MaintenanceSchema),
        post(f"{one}/end", "End the maintenance of this node; nothing else changes.", end),
        post("/v1/node/drain", "Hand over what this node serves, and no more.", drain, DrainSchema),
    )
