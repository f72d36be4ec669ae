"""`/v1/volumes/{volume}/worm`: how long the files of a volume that is write once are retained."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema

from holdfast.api.fields import RetentionSeconds
from holdfast.api.routes import Call, ChangeQuery, Route, Started
from holdfast.services.worm.retention import WormRetention


class WormSchema(Schema):
    """How long each file is retained, from when it was closed; null makes it an ordinary volume."""

    retention_s = RetentionSeconds(required=True, allow_none=True)


def routes(retention: WormRetention) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def show(call: Call) -> Any:
        return await retention.show(call.path["volume"])

    async def change(call: Call) -> Started:
        wanted_s = call.body["retention_s"]
        return Started(await retention.set(call.path["volume"], wanted_s, validate_only=call.validate_only))

    async def walk(call: Call) -> Started:
        return Started(await retention.walk(call.path["volume"], validate_only=call.validate_only))

    one = "/v1/volumes/{volume}/worm"
    return (
        Route("GET", one, "What is retained of a volume that is write once.", show),
        Route(
            "PUT",
            one,
            "Retain its files longer; shorter, or no more, only where none is retained.",
            change,
            body=WormSchema,
            query=ChangeQuery,
            changes=True,
        ),
        Route(
            "POST",
            f"{one}/walk",
            "Look at each of its files now: what may be removed can be then.",
            walk,
            query=ChangeQuery,
            changes=True,
        ),
    )
