"""The aiohttp application: authentication first, then the routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from holdfast.api import openapi
from holdfast.api.errors import problems
from holdfast.api.routes import Call, Route, answer, read_call
from holdfast.errors import DeniedError, Reason
from holdfast.services.jobs import Jobs

LARGEST_BODY_BYTES = 1024 * 1024
WhoIs = Callable[[str], Awaitable[str | None]]


def authentication(who_is: WhoIs) -> Middleware:
    """Refuse every request without a known token, before anything of it is read but its headers."""

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token or await who_is(token.strip()) is None:
            remedy = "send `Authorization: Bearer TOKEN`; the first token is in the state directory, in `token`"
            text = "a known API token is needed"
            raise DeniedError(text, reasons=[Reason("token", text, remedy, "Authorization")])
        return await handler(request)

    return authenticate


def build(routes: Sequence[Route], *, who_is: WhoIs, jobs: Jobs) -> web.Application:
    """Make the application that serves `routes`, and their description at `/v1/openapi.json`."""
    app = web.Application(middlewares=[problems, authentication(who_is)], client_max_size=LARGEST_BODY_BYTES)

    async def describe(call: Call) -> object:
        return described

    described_route = Route("GET", "/v1/openapi.json", "This description.", describe, tags=("meta",))
    described = openapi.document([*routes, described_route])
    for route in (*routes, described_route):
        app.router.add_route(route.method, route.path, _handler(route, jobs))
    return app


def _handler(route: Route, jobs: Jobs) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        call = await read_call(route, request)
        return await answer(route, await route.handler(call), request, jobs)

    return handle
