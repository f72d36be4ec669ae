"""Routes as data: what checks a request, what answers it, and what the OpenAPI document says are one thing."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from marshmallow import Schema, ValidationError, fields, validate

from holdfast.api.errors import invalid_fields
from holdfast.api.fields import Name, NoFields
from holdfast.errors import ConfirmationError, InvalidError, Reason
from holdfast.services.jobs import Jobs
from holdfast.store.jobs import JobRecord
from holdfast.values import to_plain

LONGEST_WAIT_S = 300.0


@dataclass(frozen=True)
class Call:
    """A request that passed its schemas."""

    body: dict[str, Any]
    query: dict[str, Any]
    path: Mapping[str, str]
    request: web.Request

    @property
    def validate_only(self) -> bool:
        """Whether only the checks are wanted."""
        return bool(self.query.get("validate_only", False))

    def confirm(self, name: str) -> None:
        """Raise ConfirmationError unless the caller named what it destroys."""
        if self.query.get("confirm") != name:
            raise ConfirmationError(
                f"this destroys {name}",
                reasons=[
                    Reason("confirm", f"this destroys {name}", f"repeat the call with ?confirm={name}", "confirm")
                ],
            )


@dataclass(frozen=True)
class Started:
    """The answer of a handler that started a job; None where `validate_only` found nothing against it."""

    job_id: str | None
    warnings: tuple[Reason, ...] = ()
    """What `validate_only` tells although it is no reason against it."""


@dataclass(frozen=True)
class Page:
    """The answer of a handler that lists: items in a stated order, and where to go on."""

    items: Sequence[Any]
    next_page_token: str | None = None


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    summary: str
    handler: Callable[[Call], Awaitable[Any]]
    body: type[Schema] | None = None
    query: type[Schema] = NoFields
    status: int = 200
    changes: bool = False
    """It starts a job: it takes `validate_only`, and `Prefer: wait=N`."""
    is_stream: bool = False
    shows_secret: bool = False
    """Its answer is shown once, and never kept under an idempotency key."""
    formats: Sequence[str] = ()
    """Media types that it answers with beside JSON, where `format` in its query asks for one."""
    tags: Sequence[str] = field(default_factory=tuple)


class ChangeQuery(Schema):
    """The query of every changing call."""

    validate_only = fields.Boolean(
        truthy={"true"}, falsy={"false"}, metadata={"description": "run every check and change nothing"}
    )


class DestroyQuery(ChangeQuery):
    """The query of every destroying call."""

    confirm = fields.String(metadata={"description": "the name of what is destroyed"})


class PageQuery(Schema):
    """The query of every list."""

    page_size = fields.Integer(validate=validate.Range(min=1), load_default=100)
    page_token = fields.String(validate=validate.Regexp(r"[0-9]{1,18}\Z"))


async def read_call(route: Route, request: web.Request) -> Call:
    """Check a request against its route's schemas. Raises InvalidError naming each field."""
    try:
        query = route.query().load(dict(request.query))
    except ValidationError as raised:
        raise invalid_fields(raised) from raised
    for key, value in request.match_info.items():
        if key not in ("job", "id"):
            try:
                Name().deserialize(value)
            except ValidationError as raised:
                raise InvalidError(
                    f"{key}: {raised.messages[0]}",
                    reasons=[Reason("bad-name", str(raised.messages[0]), "correct the name in the path", key)],
                ) from raised
    body: dict[str, Any] = {}
    if route.body is not None:
        try:
            body = route.body().load(await _json(request))
        except ValidationError as raised:
            raise invalid_fields(raised) from raised
    return Call(body, query, dict(request.match_info), request)


async def _json(request: web.Request) -> dict[str, Any]:
    data = await request.read()
    if not data:
        return {}
    try:
        plain = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as reason:
        raise InvalidError(
            "the body is not JSON",
            reasons=[Reason("not-json", f"the body is not JSON: {reason}", "send an object as JSON", "(body)")],
        ) from reason
    if not isinstance(plain, dict):
        raise InvalidError(
            "the body is not an object",
            reasons=[Reason("not-an-object", "the body is not a JSON object", "send an object", "(body)")],
        )
    return plain


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def job_document(record: JobRecord) -> dict[str, Any]:
    """A job as the API shows it."""
    return {
        "id": record.id,
        "number": record.number,
        "kind": record.kind,
        "target": record.target,
        "state": record.state,
        "steps": to_plain(record.steps),
        "progress": {"percent": record.progress_percent, "text": record.progress_text},
        "error": record.error,
        "result": record.result,
        "log": list(record.log),
        "origin_node": record.origin_node,
        "created_at": record.created_at,
        "ended_at": record.ended_at,
    }


def wanted_wait_s(prefer: str | None) -> float:
    """Seconds that `Prefer: wait=N` (RFC 7240) asks for; 0 without it."""
    found = re.search(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])", prefer or "")
    return min(float(found.group(1)), LONGEST_WAIT_S) if found else 0.0


async def answer(route: Route, result: Any, request: web.Request, jobs: Jobs) -> web.StreamResponse:
    """What a handler returned, as a response."""
    if isinstance(result, web.StreamResponse):
        return result
    if isinstance(result, Started):
        if result.job_id is None:
            warned = {"warnings": to_plain(result.warnings)} if result.warnings else {}
            return web.json_response({"valid": True, **warned})
        record = await jobs.wait(result.job_id, wanted_wait_s(request.headers.get("Prefer")))
        status = 200 if record.state.is_over else 202
        return web.json_response(job_document(record), status=status, headers={"Location": f"/v1/jobs/{record.id}"})
    if isinstance(result, Page):
        plain: Any = {"items": to_plain(result.items), "next_page_token": result.next_page_token}
    else:
        plain = to_plain(result)
    return web.json_response(plain, status=route.status)
