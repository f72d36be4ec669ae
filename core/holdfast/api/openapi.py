"""The OpenAPI 3.1 document, made from the routes themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

from holdfast import __version__
from holdfast.api.etags import is_shown, is_tagged
from holdfast.api.keys import SCHEMA as KEY
from holdfast.api.keys import takes_key
from holdfast.api.routes import Route
from holdfast.store.jobs import JobState, StepState

REASON = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "text": {"type": "string"},
        "remedy": {"type": "string"},
        "field": {"type": ["string", "null"]},
    },
}
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "reasons"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "stable: programs decide on it"},
        "detail": {"type": "string"},
        "reasons": {"type": "array", "items": REASON},
    },
}
CHECKED = {
    "type": "object",
    "required": ["valid"],
    "properties": {
        "valid": {"const": True},
        "warnings": {
            "type": "array",
            "items": REASON,
            "description": "what does not stand in the way and is better known before",
        },
    },
}
JOB = {
    "type": "object",
    "required": ["id", "number", "kind", "target", "state", "steps", "progress", "error", "result", "log"],
    "properties": {
        "id": {"type": "string"},
        "number": {"type": "integer"},
        "kind": {"type": "string", "description": "such as `volume.create`"},
        "target": {"type": "string", "description": "what it changes, such as `volume:v1`"},
        "state": {"enum": [state.value for state in JobState]},
        "steps": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "state": {"enum": [state.value for state in StepState]}},
            },
        },
        "progress": {
            "type": "object",
            "properties": {"percent": {"type": ["number", "null"]}, "text": {"type": ["string", "null"]}},
        },
        "error": {"type": ["object", "null"], "description": "why it failed: `code`, `message` and `reasons`"},
        "result": {"description": "what came of it"},
        "log": {"type": "array", "items": {"type": "string"}},
        "origin_node": {"type": "string"},
        "created_at": {"type": "string", "format": "date-time"},
        "ended_at": {"type": ["string", "null"], "format": "date-time"},
    },
}

TAG = "stands for the intent on record on this node, not for what the machine says beside it"
AS_SEEN = "the ETag that the document had when it was read; 412 if it has another by now"
ONCE = (
    "A new word, such as a UUID, for each change. Asked again with the same key within 24 hours, the first request's "
    "job, or its answer, comes again, with `Idempotency-Replayed: true`, and nothing is done. 422 if the key was used "
    "for another request, 409 while the first is under way; a request that was refused may be repeated."
)


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole description of the API."""
    spec = APISpec(
        title="Holdfast",
        version=__version__,
        openapi_version="3.1.1",
        plugins=[MarshmallowPlugin(schema_name_resolver=_schema_name)],
        info={"description": "Storage management for appliances of two nodes."},
        security=[{"token": []}],
    )
    spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    for name, schema in (("Problem", PROBLEM), ("Checked", CHECKED), ("Job", JOB)):
        spec.components.schema(name, schema)
    for route in routes:
        spec.path(path=route.path, operations={route.method.lower(): _operation(route)})
    return spec.to_dict()


def _schema_name(schema: type[Schema] | Schema) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__.removesuffix("Schema")


def _operation(route: Route) -> dict[str, Any]:
    parameters: list[Any] = [
        {"in": "path", "name": name, "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    parameters.append({"in": "query", "schema": route.query})
    parameters += _headers(route)
    good = ("text/event-stream",) if route.is_stream else ("application/json", *route.formats)
    content: dict[str, Any] = {kind: {"schema": {}} for kind in good}
    responses: dict[str, Any] = {
        str(route.status): {"description": "the answer", "content": content},
        "default": {
            "description": "a refusal, with every reason and remedy",
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    }
    if is_shown(route):
        responses[str(route.status)]["headers"] = {"ETag": {"schema": {"type": "string"}, "description": TAG}}
    if route.changes:
        job = {"$ref": "#/components/schemas/Job"}
        location = {"Location": {"schema": {"type": "string"}}}
        responses["200"] = {
            "description": "with `validate_only` that it may be done; otherwise the job, over within `Prefer: wait=N`",
            "headers": location,
            "content": {"application/json": {"schema": {"oneOf": [{"$ref": "#/components/schemas/Checked"}, job]}}},
        }
        responses["202"] = {
            "description": "a job was started; its document",
            "headers": location,
            "content": {"application/json": {"schema": job}},
        }
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "tags": list(route.tags) or [route.path.split("/")[2].split("?")[0]],
        "parameters": parameters,
        "responses": responses,
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": route.body}}}
    return operation


def _headers(route: Route) -> list[dict[str, Any]]:
    found = []
    if takes_key(route):
        found.append({"in": "header", "name": "Idempotency-Key", "schema": KEY, "description": ONCE})
    if route.method != "GET" and is_tagged(route):
        found.append({"in": "header", "name": "If-Match", "schema": {"type": "string"}, "description": AS_SEEN})
    return found


def _operation_id(route: Route) -> str:
    words = [word for word in re.split(r"[/{}.-]+", route.path.removeprefix("/v1")) if word]
    return "_".join([route.method.lower(), *words])
