"""Problem details (RFC 9457), and the only table from errors to HTTP statuses."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from marshmallow import ValidationError

from holdfast.errors import (
    ConfirmationError,
    ConflictError,
    DeniedError,
    HoldfastError,
    InvalidError,
    KeyReusedError,
    NoSpaceError,
    NotFoundError,
    PreconditionError,
    Reason,
    SystemCommandError,
    UnavailableError,
    UnsupportedError,
    VerificationError,
)
from holdfast.services.jobs import error_document

log = logging.getLogger(__name__)

# The nearest class upwards decides.
STATUS: Mapping[type[HoldfastError], int] = {
    InvalidError: 400,
    KeyReusedError: 422,
    DeniedError: 401,
    NotFoundError: 404,
    ConflictError: 409,
    PreconditionError: 412,
    ConfirmationError: 428,
    UnsupportedError: 501,
    UnavailableError: 503,
    NoSpaceError: 507,
    VerificationError: 500,
    SystemCommandError: 500,
    HoldfastError: 500,
}


def status_of(error: HoldfastError) -> int:
    """The HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(error: HoldfastError, status: int | None = None) -> dict[str, Any]:
    """The body of a refusal; `status` where HTTP has a more exact one than the table."""
    document = error_document(error)
    return {
        "type": f"urn:holdfast:problem:{error.code}",
        "title": error.code.replace("-", " "),
        "status": status or status_of(error),
        "code": error.code,
        "detail": error.message,
        "reasons": document["reasons"],
    }


def problem_response(error: HoldfastError, status: int | None = None) -> web.Response:
    """A refusal as a response."""
    body = problem(error, status)
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, DeniedError) else None
    return web.Response(
        text=json.dumps(body), status=body["status"], content_type="application/problem+json", headers=headers
    )


def invalid_fields(raised: ValidationError) -> InvalidError:
    """What a schema found, one reason for each field."""
    reasons = tuple(_field_reasons(raised.messages, ""))
    fields = ", ".join(sorted({reason.field or "" for reason in reasons}))
    return InvalidError(f"the request is not valid: {fields}", reasons=reasons)


def _field_reasons(messages: Any, path: str) -> list[Reason]:
    if isinstance(messages, Mapping):
        found = []
        for key, value in messages.items():
            # marshmallow speaks of the whole document as `_schema`.
            found += _field_reasons(value, path if key == "_schema" else f"{path}.{key}".lstrip("."))
        return found
    texts = messages if isinstance(messages, list) else [messages]
    remedy = "see /v1/openapi.json for what this field takes"
    return [Reason("bad-field", str(text), remedy, path or "(body)") for text in texts]


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn everything that goes wrong into a problem document."""
    try:
        return await handler(request)
    except HoldfastError as error:
        if status_of(error) >= 500:
            log.warning("%s %s: %s", request.method, request.path, error)
        return problem_response(error)
    except web.HTTPNotFound:
        return problem_response(NotFoundError(f"there is nothing at {request.path}"))
    except web.HTTPMethodNotAllowed as raised:
        response = problem_response(UnsupportedError(f"{request.method} is not possible at {request.path}"), 405)
        response.headers["Allow"] = ", ".join(sorted(raised.allowed_methods))
        return response
    except web.HTTPRequestEntityTooLarge:
        return problem_response(InvalidError("the request is larger than 1 MiB"), 413)
    except web.HTTPException:
        raise
    except Exception:
        # The text of an unexpected fault may hold anything: it goes to the log, not to the caller.
        log.exception("%s %s failed unexpectedly", request.method, request.path)
        return problem_response(HoldfastError("something went wrong inside; holdfastd's log says what"))
