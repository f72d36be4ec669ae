from __future__ import annotations

import re
from importlib import import_module
from pkgutil import iter_modules
from types import FunctionType, ModuleType
from typing import Any, TypeVar

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

from holdfast import api
from holdfast.api import (
    events,
    groups,
    initiators,
    jobs,
    mirror_upkeep,
    mirrors,
    nodes,
    openapi,
    pools,
    replicas,
    shares,
    targets,
    tasks,
    volumes,
)
from holdfast.api.routes import Route, job_document
from holdfast.loading.judging import Loaded
from holdfast.services.discovery import Discovery
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.groups import Groups
from holdfast.services.initiators import Initiators
from holdfast.services.jobs import Jobs
from holdfast.services.links import Links
from holdfast.services.mirror_growth import MirrorGrowth
from holdfast.services.mirror_link import MirrorLink
from holdfast.services.mirror_repair import MirrorRepair
from holdfast.services.mirror_replacement import MirrorReplacement
from holdfast.services.mirror_verify import MirrorVerify
from holdfast.services.mirrors import Mirrors
from holdfast.services.nodes import Nodes
from holdfast.services.pools import Pools
from holdfast.services.reconcile import Reconciler
from holdfast.services.replicas import Replicas
from holdfast.services.replication_modes import ReplicationModes
from holdfast.services.shares import Shares
from holdfast.services.snapshots import Snapshots
from holdfast.services.split_brain import SplitBrains
from holdfast.services.split_brain_jobs import SplitBrainJobs
from holdfast.services.target_identity import TargetIdentity
from holdfast.services.targets import Targets
from holdfast.services.tasks import Tasks
from holdfast.services.volumes import Volumes
from holdfast.store.jobs import JobRecord, JobState

T = TypeVar("T")


def idle(kind: type[T]) -> T:
    """A service that is never asked: routes only refer to its methods."""
    return kind.__new__(kind)


NOUNS: dict[ModuleType, tuple[Route, ...]] = {
    events: events.routes(idle(Events)),
    groups: groups.routes(idle(Groups), idle(Links), "a"),
    jobs: jobs.routes(idle(Jobs)),
    mirrors: mirrors.routes(idle(Mirrors), idle(MirrorLink)),
    mirror_upkeep: mirror_upkeep.routes(
        idle(Mirrors),
        idle(MirrorVerify),
        idle(MirrorRepair),
        idle(SplitBrains),
        idle(SplitBrainJobs),
        idle(MirrorGrowth),
        idle(MirrorReplacement),
    ),
    nodes: nodes.routes(idle(Nodes), Drivers(Loaded((), {})), idle(Reconciler)),
    pools: pools.routes(idle(Pools)),
    replicas: replicas.routes(idle(Replicas)),
    shares: shares.routes(idle(Shares)),
    targets: targets.routes(idle(Targets), idle(TargetIdentity)),
    initiators: initiators.routes(idle(Initiators), idle(Discovery)),
    tasks: tasks.routes(idle(Tasks)),
    volumes: volumes.routes(idle(Volumes), idle(Snapshots), idle(ReplicationModes)),
}
ROUTES = tuple(route for routes in NOUNS.values() for route in routes)


def test_no_noun_is_forgotten_here() -> None:
    modules = [import_module(f"{api.__name__}.{found.name}") for found in iter_modules(api.__path__)]
    answering = {module for module in modules if getattr(module, "routes", None).__class__ is FunctionType}
    assert answering == set(NOUNS)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.document(ROUTES)


def test_the_description_is_valid_openapi(document: dict[str, Any]) -> None:
    validate(document, cls=OpenAPIV31SpecValidator)


def test_a_broken_description_would_be_noticed(document: dict[str, Any]) -> None:
    with pytest.raises(OpenAPIValidationError):
        validate({**document, "paths": {"/x": {"get": {"responses": 3}}}}, cls=OpenAPIV31SpecValidator)


def test_every_route_is_described_once(document: dict[str, Any]) -> None:
    described = [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]
    assert sorted(described) == sorted((route.method, route.path) for route in ROUTES)
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(names)) == len(names)


def test_what_changes_takes_validate_only_and_answers_with_a_job(document: dict[str, Any]) -> None:
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        names = {parameter.get("name") for parameter in operation["parameters"]}
        assert ("validate_only" in names) is route.changes, route
        assert ("202" in operation["responses"]) is (route.changes or route.status == 202), route
        assert set(re.findall(r"{(\w+)}", route.path)) <= names


def test_what_changes_tells_what_a_check_and_a_job_look_like(document: dict[str, Any]) -> None:
    route = next(route for route in ROUTES if (route.method, route.path) == ("POST", "/v1/mirrors"))
    responses = document["paths"][route.path]["post"]["responses"]
    checked, job = responses["200"]["content"]["application/json"]["schema"]["oneOf"]
    assert responses["202"]["content"]["application/json"]["schema"] == job
    schemas = document["components"]["schemas"]
    assert "warnings" in schemas[checked["$ref"].rpartition("/")[2]]["properties"]
    record = JobRecord("1", 1, "k", "n:x", {}, {}, JobState.DONE, None, "", None, None, "a", "", None, (), ())
    assert set(schemas["Job"]["properties"]) == set(job_document(record))


def test_whatever_is_deleted_is_confirmed_by_name_unless_all_data_and_service_stay() -> None:
    unconfirmed = {r.path for r in ROUTES if r.method == "DELETE" and "confirm" not in r.query().fields}
    assert unconfirmed == {
        "/v1/groups/{group}",
        "/v1/initiator-groups/{name}",
        "/v1/replica-shares/{name}",
        "/v1/replication-tasks/{name}",
        "/v1/shares/{share}",
    }
