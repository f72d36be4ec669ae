"""`Idempotency-Key`: a change that is asked for again is not made again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from holdfast.api.routes import Call, Route, Started, answer
from holdfast.errors import InvalidError, Reason
from holdfast.services.jobs import Jobs
from holdfast.services.requests import Claims
from holdfast.store.keys import Claim

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
PRINCIPAL = web.RequestKey("principal", str)
"""Under this a request has who it is of."""
SCHEMA = {"type": "string", "pattern": "^[!-~]{1,255}$"}

Act = Callable[[Claim | None], Awaitable[object]]


def takes_key(route: Route) -> bool:
    """Whether a call of it may be kept under a key."""
    return route.method != "GET" and not route.shows_secret


async def claim_of(route: Route, call: Call) -> Claim | None:
    """What a request claims; None without a key, and where nothing is changed. Raises InvalidError."""
    request = call.request
    given = request.headers.getall(HEADER, [])
    if not given or route.method == "GET" or call.validate_only:
        return None
    if not takes_key(route):
        raise _refusal(f"an answer of {request.path} is shown once and never kept", "leave the header away")
    if len(given) > 1 or not re.fullmatch(r"[!-~]{1,255}", given[0]):
        raise _refusal("a key is one word of 1 to 255 printable characters", "a new UUID for each change will do")
    return Claim(request[PRINCIPAL], route.method, request.path, given[0], await _sha256(request))


async def answer_once(
    route: Route, claim: Claim | None, act: Act, request: web.Request, jobs: Jobs, claims: Claims
) -> web.StreamResponse:
    """Act and answer; of a claim that was answered before, only say again what came of it.

    For a job that is the job as it is now. A refusal has changed nothing, and is not kept.
    """
    if claim is None:
        return await answer(route, await act(None), request, jobs)
    async with claims.hold(claim) as outcome:
        if outcome is None:
            result = await act(claim)
            if not isinstance(result, Started):
                response = await answer(route, result, request, jobs)
                assert isinstance(response, web.Response)
                await claims.keep_answer(claim, response.status, response.text or "")
                return response
    if outcome is None:
        # No longer held: the job is there with its key, and whoever repeats the request may wait for it, too.
        return await answer(route, result, request, jobs)
    if outcome.job_id is not None:
        replayed = await answer(route, Started(outcome.job_id), request, jobs)
    else:
        kept = outcome.answer or {}
        replayed = web.Response(text=kept["text"], status=kept["status"], content_type="application/json")
    replayed.headers[REPLAYED] = "true"
    return replayed


async def _sha256(request: web.Request) -> str:
    """What is asked for, whatever the order of its fields."""
    data = await request.read()
    try:
        body = json.dumps(json.loads(data or b"{}"), sort_keys=True)
    except ValueError:  # of a route that reads no body
        body = data.hex()
    asked = json.dumps([sorted(request.query.items()), body])
    return hashlib.sha256(asked.encode()).hexdigest()


def _refusal(text: str, remedy: str) -> InvalidError:
    return InvalidError(text, reasons=[Reason("bad-key", text, remedy, HEADER)])
