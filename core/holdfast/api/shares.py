"""`/v1/shares`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.fields import Name
from holdfast.api.routes import Call, ChangeQuery, Page, Route, Started
from holdfast.services.documents import ShareDocument
from holdfast.services.shares.shares import Shares

# Names joined by `/`; none is `.` or `..`, and none begins with a hyphen.
PATH = r"(?:(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._][A-Za-z0-9._-]{0,100}(?:/(?=[A-Za-z0-9._])|\Z)){0,16}\Z"


class ShareSchema(Schema):
    """A share to make: a directory of a NAS volume; the volume's root where no path is given."""

    name = Name(required=True)
    volume = Name(required=True)
    path = fields.String(load_default="", validate=validate.Regexp(PATH, error="names joined by / are needed"))


def routes(shares: Shares) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def show_all(call: Call) -> Page:
        return Page(await shares.list())

    async def show(call: Call) -> Any:
        return await shares.get(call.path["share"])

    async def create(call: Call) -> Started:
        share = ShareDocument(call.body["name"], call.body["volume"], call.body["path"])
        return Started(await shares.create(share, validate_only=call.validate_only))

    async def delete(call: Call) -> Started:
        return Started(await shares.delete(call.path["share"], validate_only=call.validate_only))

    return (
        Route("GET", "/v1/shares", "Shares, by name.", show_all),
        Route("POST", "/v1/shares", "Make a share.", create, body=ShareSchema, query=ChangeQuery, changes=True),
        Route("GET", "/v1/shares/{share}", "One share.", show),
        Route(
            "DELETE", "/v1/shares/{share}", "Remove a share; its files stay.", delete, query=ChangeQuery, changes=True
        ),
    )
