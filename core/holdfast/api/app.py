"""The aiohttp application: authentication first, then the routes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from holdfast.api import openapi
from holdfast.api.errors import problems
from holdfast.api.etags import ETags, is_shown
from holdfast.api.keys import PRINCIPAL, answer_once, claim_of
from holdfast.api.routes import Call, Route, answer, read_call
from holdfast.errors import DeniedError, Reason
from holdfast.services.jobs import Jobs
from holdfast.services.requests import Claims, Terms, under
from holdfast.store.intent import Revisions
from holdfast.store.keys import Claim

LARGEST_BODY_BYTES = 1024 * 1024
WhoIs = Callable[[str], Awaitable[str | None]]


def authentication(who_is: WhoIs) -> Middleware:
    """Refuse every request without a known token, before anything of it is read but its headers."""

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        principal = await who_is(token.strip()) if scheme.lower() == "bearer" and token else None
        if principal is None:
            remedy = "send `Authorization: Bearer TOKEN`; the first token is in the state directory, in `token`"
            text = "a known API token is needed"
            raise DeniedError(text, reasons=[Reason("token", text, remedy, "Authorization")])
        request[PRINCIPAL] = principal
        return await handler(request)

    return authenticate


def build(
    routes: Sequence[Route], *, who_is: WhoIs, jobs: Jobs, claims: Claims, revisions: Revisions
) -> web.Application:
    """Make the application that serves `routes`, and their description at `/v1/openapi.json`."""
    app = web.Application(middlewares=[problems, authentication(who_is)], client_max_size=LARGEST_BODY_BYTES)

    @functools.cache
    def described() -> object:
        return openapi.document([*routes, described_route])

    async def describe(call: Call) -> object:
        # Made when somebody asks for it, once: it takes longer than all other answers.
        return await asyncio.to_thread(described)

    described_route = Route("GET", "/v1/openapi.json", "This description.", describe, tags=("meta",))
    etags = ETags(revisions)
    for route in (*routes, described_route):
        app.router.add_route(route.method, route.path, _handler(route, jobs, claims, etags))
    return app


def _handler(route: Route, jobs: Jobs, claims: Claims, etags: ETags) -> Handler:
    async def show(request: web.Request) -> web.StreamResponse:
        call = await read_call(route, request)
        # Read before the document: a tag may be older than what is shown, but never stand for what was not seen.
        tag = await etags.of(route, call) if is_shown(route) else None
        response = await answer(route, await route.handler(call), request, jobs)
        if tag is not None:
            response.headers["ETag"] = f'"{tag}"'
        return response

    async def change(request: web.Request) -> web.StreamResponse:
        call = await read_call(route, request)

        async def still_as_seen() -> None:
            await etags.check(route, call)

        async def act(claim: Claim | None) -> object:
            # A repeated request never comes here: by now the document may well be another, by its own change.
            await still_as_seen()
            with under(Terms(still_as_seen, claim)):
                return await route.handler(call)

        return await answer_once(route, await claim_of(route, call), act, request, jobs, claims)

    return show if route.method == "GET" else change
