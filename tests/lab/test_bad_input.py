"""What nobody may send: every such request gets a problem that names the field, and changes nothing on a real node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.bed import Bed
from demo.client import Answer
from lab import Lab
from tests.lab.product import begin_anew, end

pytestmark = [pytest.mark.lab(seconds=76, is_patient=True), pytest.mark.timeout(60, func_only=True)]

MIB = 1 << 20
VOLUME = {"pool": "main", "name": "fine", "size_bytes": 16 * MIB, "kind": "iscsi"}
POOL = {"name": "other", "disks": ["/dev/ubdb"]}
SHARE = {"name": "docs", "volume": "files"}
TARGET = {"name": "t", "mirror": "m", "units": [{"lun": 1, "volume": "files"}]}
BAD_NAMES = ["two words", "-rf", "n" * 300, "line\nbreak", "line\n", "", "../up", "Ünicode", "a;reboot", None, 7, ["a"]]

CASES: list[tuple[str, str, dict[str, Any], str]] = [
    ("an unknown field", "volumes", {**VOLUME, "colour": "red"}, "colour"),
    ("a size as text", "volumes", {**VOLUME, "size_bytes": "16777216"}, "size_bytes"),
    ("a size as a fraction", "volumes", {**VOLUME, "size_bytes": 16777216.5}, "size_bytes"),
    ("a size that is true", "volumes", {**VOLUME, "size_bytes": True}, "size_bytes"),
    ("size 0", "volumes", {**VOLUME, "size_bytes": 0}, "size_bytes"),
    ("a size below 0", "volumes", {**VOLUME, "size_bytes": -1}, "size_bytes"),
    ("a size over the pool", "volumes", {**VOLUME, "size_bytes": 1 << 40}, "size_bytes"),
    ("a size beyond every disk", "volumes", {**VOLUME, "size_bytes": 1 << 80}, "size_bytes"),
    ("an unknown kind", "volumes", {**VOLUME, "kind": "tape"}, "kind"),
    ("no size", "volumes", {key: VOLUME[key] for key in ("pool", "name", "kind")}, "size_bytes"),
    ("an unknown pool", "volumes", {**VOLUME, "pool": "nowhere"}, "pool"),
    ("a disk that is an option", "pools", {**POOL, "disks": ["--force"]}, "disks"),
    ("a disk outside of /dev", "pools", {**POOL, "disks": ["/etc/passwd"]}, "disks"),
    ("no disk", "pools", {**POOL, "disks": []}, "disks"),
    ("an unknown volume", "shares", {**SHARE, "volume": "nowhere"}, "volume"),
    ("a path upwards", "shares", {**SHARE, "path": "../../etc"}, "path"),
    ("an absolute path", "shares", {**SHARE, "path": "/etc"}, "path"),
    ("an unknown mirror", "targets", TARGET, "mirror"),
    ("a LUN below 0", "targets", {**TARGET, "units": [{"lun": -1, "volume": "files"}]}, "units.0.lun"),
    ("no IQN", "targets", {**TARGET, "iqn": "disk one"}, "iqn"),
]
CASES += [(f"the name {name!r:.20}", "volumes", {**VOLUME, "name": name}, "name") for name in BAD_NAMES]
CASES += [(f"the pool name {name!r:.20}", "pools", {**POOL, "name": name}, "name") for name in BAD_NAMES]


@pytest.fixture(scope="module")
def product(lab_session: Lab) -> Iterator[tuple[Bed, Any]]:
    """A node with a pool and a volume, and what was to be seen of it before anything bad was sent."""
    bed = begin_anew(lab_session)
    bed.a.api.change("POST", "/v1/pools", {"name": "main", "disks": [bed.a.node.device("data")]})
    blank = seen(bed)
    bed.a.api.change("POST", "/v1/volumes", {**VOLUME, "name": "files"})
    before = seen(bed)
    assert all(old != new for old, new in zip(blank, before, strict=True)), "a change would go unseen"
    yield bed, before
    end(bed)


@pytest.fixture
def bed(product: tuple[Bed, Any], lab_bed: Lab) -> Iterator[Bed]:
    """The node; whatever the test sends to it, nothing of it may have changed since the first test."""
    bed, before = product
    yield bed
    assert seen(bed) == before


def seen(bed: Bed) -> Any:
    """All that could have changed."""
    api = bed.a.api
    nouns = ("pools", "volumes", "shares", "snapshots", "mirrors", "targets", "groups", "replica-shares", "jobs")
    volumes = bed.a.node.run(["lvs", "--noheadings", "-o", "lv_name,lv_size"]).stdout
    return api.get_all([f"/v1/{noun}" for noun in nouns]), volumes


def assert_problem(answer: Answer, *statuses: int) -> None:
    print(answer.status, answer.document)
    assert answer.status in statuses
    assert answer.document["status"] == answer.status
    assert answer.document["type"].startswith("urn:holdfast:problem:")
    assert answer.document["detail"]


@pytest.mark.parametrize(("what", "noun", "body", "field"), CASES, ids=[case[0] for case in CASES])
def test_bad_input_gets_a_problem_that_names_the_field(
    bed: Bed, what: str, noun: str, body: dict[str, Any], field: str
) -> None:
    answer = bed.a.api.send("POST", f"/v1/{noun}", json.dumps(body).encode(), headers={"Prefer": "wait=20"})
    assert_problem(answer, 400, 404, 409, 507)
    named = [reason["field"] for reason in answer.document["reasons"] if reason["field"]]
    assert any(name == field or name.startswith(f"{field}.") for name in named), named


@pytest.mark.parametrize("data", [b"{", b"size_bytes=1", b"[]", b"7", b'{"size_bytes": NaN}', b"\xff\xfe"])
def test_what_is_no_object_in_json_gets_a_problem_that_names_the_body(bed: Bed, data: bytes) -> None:
    answer = bed.a.api.send("POST", "/v1/volumes", data)
    assert_problem(answer, 400)
    assert [reason["field"] for reason in answer.document["reasons"]] == ["(body)"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer hf_wrong"}, {"Authorization": "Basic cm9vdDo="}])
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/volumes"), ("GET", "/v1/pools"), ("GET", "/v1/nowhere")])
def test_without_a_token_nothing_is_said_or_done(bed: Bed, method: str, path: str, headers: dict[str, str]) -> None:
    data = json.dumps(VOLUME).encode() if method == "POST" else None
    answer = bed.a.api.send(method, path, data, headers=headers, with_token=False)
    assert_problem(answer, 401)


def test_an_unknown_node_is_named(bed: Bed) -> None:
    where = {"address": bed.lab.address("ping", "client"), "port": 8445, "code": "0000-0000"}
    answer = bed.a.api.send("POST", "/v1/pairing/join", json.dumps(where).encode())
    assert_problem(answer, 400, 503)


@pytest.mark.parametrize("name", ["-rf", "two%20words", "..%2F..%2Fetc", "a%0Ab", "n" * 300])
def test_a_name_in_the_path_is_held_to_the_same(bed: Bed, name: str) -> None:
    answer = bed.a.api.send("DELETE", f"/v1/volumes/{name}?confirm={name}")
    assert_problem(answer, 400, 404)


def test_what_holds_data_is_not_destroyed_without_its_name(bed: Bed) -> None:
    assert_problem(bed.a.api.send("DELETE", "/v1/volumes/files"), 428)
    assert_problem(bed.a.api.send("DELETE", "/v1/volumes/files?confirm=fine"), 428)
