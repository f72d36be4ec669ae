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
    group_explanation,
    group_rules,
    groups,
    initiators,
    jobs,
    kept_copies,
    maintenance,
    mirror_upkeep,
    mirrors,
    nodes,
    openapi,
    pool_upkeep,
    pools,
    replicas,
    restores,
    runs,
    schedules,
    share_accounts,
    share_offers,
    shares,
    snapshot_schedules,
    snapshots,
    targets,
    task_verification,
    tasks,
    volumes,
    worm,
)
from holdfast.api.routes import Route, job_document
from holdfast.loading.judging import Loaded
from holdfast.services.copies.ages import CopyAges
from holdfast.services.copies.directions import Directions
from holdfast.services.copies.frozen import FrozenCopies
from holdfast.services.copies.kept import KeptCopies
from holdfast.services.copies.previews import TaskPreviews
from holdfast.services.copies.replica_changes import ReplicaChanges
from holdfast.services.copies.replicas import Replicas
from holdfast.services.copies.restore_openings import RestoreOpenings
from holdfast.services.copies.restores import Restores
from holdfast.services.copies.runs import TaskRuns
from holdfast.services.copies.schedules import TaskSchedules
from holdfast.services.copies.tasks import Tasks
from holdfast.services.copies.transports import Transports
from holdfast.services.copies.truth import RunTruth
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.groups.drills import Drills
from holdfast.services.groups.explanation import GroupExplanation
from holdfast.services.groups.groups import Groups
from holdfast.services.groups.links import Links
from holdfast.services.groups.rules import GroupRules
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.adding import MirrorAdding
from holdfast.services.mirrors.growth import MirrorGrowth
from holdfast.services.mirrors.link import MirrorLink
from holdfast.services.mirrors.mirrors import Mirrors
from holdfast.services.mirrors.modes import ReplicationModes
from holdfast.services.mirrors.removing import MirrorRemoving
from holdfast.services.mirrors.repair import MirrorRepair
from holdfast.services.mirrors.replacement import MirrorReplacement
from holdfast.services.mirrors.split_brain import SplitBrains
from holdfast.services.mirrors.split_brain_jobs import SplitBrainJobs
from holdfast.services.mirrors.verify import MirrorVerify
from holdfast.services.nodes.maintenance import Maintenance
from holdfast.services.nodes.nodes import Nodes
from holdfast.services.nodes.replacement import NodeReplacement
from holdfast.services.pools.disk_health import DiskHealths
from holdfast.services.pools.disks import PoolDisks
from holdfast.services.pools.names import PoolNames
from holdfast.services.pools.pools import Pools
from holdfast.services.pools.report import PoolReports
from holdfast.services.pools.thin import ThinPools
from holdfast.services.reconcile import Reconciler
from holdfast.services.shares.accounts import ShareAccounts
from holdfast.services.shares.offers import ShareOffers
from holdfast.services.shares.shares import Shares
from holdfast.services.snapshots.clone import SnapshotClone
from holdfast.services.snapshots.mounts import SnapshotMounts
from holdfast.services.snapshots.restore import SnapshotRestore
from holdfast.services.snapshots.rollback import SnapshotRollback
from holdfast.services.snapshots.schedules import SnapshotSchedules
from holdfast.services.snapshots.snapshots import Snapshots
from holdfast.services.snapshots.watch import SnapshotWatch
from holdfast.services.targets.discovery import Discovery
from holdfast.services.targets.identity import TargetIdentity
from holdfast.services.targets.initiators import Initiators
from holdfast.services.targets.targets import Targets
from holdfast.services.volumes.growth import VolumeGrowth
from holdfast.services.volumes.labels import VolumeLabels
from holdfast.services.volumes.volumes import Volumes
from holdfast.services.worm.retention import WormRetention
from holdfast.store.jobs import JobRecord, JobState

T = TypeVar("T")


def idle(kind: type[T]) -> T:
    """A service that is never asked: routes only refer to its methods."""
    return kind.__new__(kind)


NOUNS: dict[ModuleType, tuple[Route, ...]] = {
    events: events.routes(idle(Events)),
    groups: groups.routes(idle(Groups), idle(Links), "a"),
    group_explanation: group_explanation.routes(idle(GroupExplanation)),
    group_rules: group_rules.routes(idle(GroupRules), idle(Drills)),
    maintenance: maintenance.routes(idle(Maintenance)),
    jobs: jobs.routes(idle(Jobs)),
    mirrors: mirrors.routes(idle(Mirrors), idle(MirrorLink)),
    mirror_upkeep: mirror_upkeep.routes(
        idle(Mirrors),
        idle(MirrorVerify),
        idle(MirrorRepair),
        idle(SplitBrains),
        idle(SplitBrainJobs),
        idle(MirrorGrowth),
        idle(MirrorAdding),
        idle(MirrorRemoving),
        idle(MirrorReplacement),
    ),
    nodes: nodes.routes(
        idle(Nodes), idle(NodeReplacement), Drivers(Loaded((), {})), idle(Reconciler), idle(Maintenance)
    ),
    pool_upkeep: pool_upkeep.routes(idle(PoolDisks), idle(PoolNames), idle(ThinPools), idle(PoolReports)),
    pools: pools.routes(idle(Pools), idle(DiskHealths)),
    replicas: replicas.routes(idle(Replicas), idle(ReplicaChanges), idle(Transports), idle(CopyAges)),
    kept_copies: kept_copies.routes(idle(KeptCopies)),
    restores: restores.routes(idle(Restores), idle(FrozenCopies), idle(RestoreOpenings), idle(Directions)),
    runs: runs.routes(idle(TaskRuns)),
    schedules: schedules.routes(idle(TaskSchedules)),
    share_accounts: share_accounts.routes(idle(ShareAccounts)),
    share_offers: share_offers.routes(idle(ShareOffers), idle(ShareOffers), idle(ShareAccounts), idle(Shares)),
    shares: shares.routes(idle(Shares)),
    targets: targets.routes(idle(Targets), idle(TargetIdentity)),
    initiators: initiators.routes(idle(Initiators), idle(Discovery)),
    tasks: tasks.routes(idle(Tasks), idle(TaskRuns), idle(TaskPreviews), idle(CopyAges)),
    task_verification: task_verification.routes(idle(RunTruth), idle(TaskRuns)),
    snapshots: snapshots.routes(
        idle(Snapshots), idle(SnapshotMounts), idle(SnapshotRollback), idle(SnapshotClone), idle(SnapshotRestore)
    ),
    snapshot_schedules: snapshot_schedules.routes(idle(SnapshotSchedules), idle(SnapshotWatch)),
    volumes: volumes.routes(idle(Volumes), idle(VolumeGrowth), idle(VolumeLabels), idle(ReplicationModes)),
    worm: worm.routes(idle(WormRetention)),
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
        "/v1/pools/{pool}/thin",
        "/v1/groups/{group}",
        "/v1/initiator-groups/{name}",
        "/v1/replica-shares/{name}",
        "/v1/replication-tasks/{name}",
        "/v1/replication-tasks/{name}/schedules/{schedule}",
        "/v1/share-groups/{name}",
        "/v1/share-users/{name}",
        "/v1/shares/{share}",
        "/v1/volumes/{volume}/snapshot-schedules/{schedule}",
    }
