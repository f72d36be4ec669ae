"""`/v1/events`: server-sent events that go on where a reader stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json

from aiohttp import web
from aiohttp_sse import sse_response

from holdfast.api.routes import Call, Route
from holdfast.errors import InvalidError, Reason
from holdfast.services.events import Events
from holdfast.values import to_plain


def routes(events: Events) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def follow(call: Call) -> web.StreamResponse:
        after = call.request.headers.get("Last-Event-ID", "0")
        if not after.isascii() or not after.isdigit() or len(after) > 18:
            text = "a whole number is needed"
            raise InvalidError(text, reasons=[Reason("event-id", text, "give the last id you saw", "Last-Event-ID")])
        async with sse_response(call.request) as response:
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                async for event in events.follow(int(after)):
                    await response.send(json.dumps(to_plain(event)), id=str(event.id), event=event.kind)
        return response

    return (Route("GET", "/v1/events", "Everything that happens, as server-sent events.", follow, is_stream=True),)
