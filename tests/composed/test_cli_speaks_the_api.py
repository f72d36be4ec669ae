"""The command line knows every route of the API, and what it sends is what the API's own schemas take."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from typing import Any

import pytest

import holdfast.api
from cli.tests.examples import CHANGES, ELSEWHERE, READS, Example
from holdfast.api.routes import Route


class _Anything:
    """Stands for every service: routes only remember what they will call."""

    def __getattr__(self, name: str) -> _Anything:
        return self


def _routes() -> list[Route]:
    found: list[Route] = []
    for module in pkgutil.iter_modules(holdfast.api.__path__):
        make: Any = getattr(importlib.import_module(f"holdfast.api.{module.name}"), "routes", None)
        if inspect.isfunction(make):
            found += make(*(_Anything() for _ in inspect.signature(make).parameters))
    return found


ROUTES = _routes()


def _route_of(example: Example) -> Route:
    for route in ROUTES:
        pattern = re.sub(r"\{\w+\}", r"[^/]+", route.path)
        if route.method == example.method and re.fullmatch(pattern, example.path):
            return route
    raise AssertionError(f"the API has no {example.method} {example.path}")


@pytest.mark.parametrize("example", [*READS, *CHANGES], ids=lambda example: example.line.split(" -")[0])
def test_the_api_takes_what_is_sent(example: Example) -> None:
    route = _route_of(example)

    if example.body is not None:
        assert route.body is not None
        route.body().load(example.body)
    elif route.body is not None:
        route.body().load({})
    route.query().load(example.query)


def test_every_route_has_a_command() -> None:
    reached = {(route.method, route.path) for route in map(_route_of, [*READS, *CHANGES])} | ELSEWHERE

    assert {(route.method, route.path) for route in ROUTES} - reached == set()
