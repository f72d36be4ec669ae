"""Runs by a list of changes, through whole daemons with real rsync below: how each goes, why, and what it leaves."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import NoSpaceError
from holdfast.hooks.replication import CopyResult, CopyRun
from holdfast.hooks.volume import Snapshot, SnapshotSpec
from holdfast.testing.trees import differences, read_tree
from tests.composed.appliance import Refused, World, pair
from tests.composed.test_real_copies import Side, furnish, make_task, run, side

TASK = "/v1/replication-tasks/task"


def freeze_in_place(one: Side) -> None:
    """The model copies a tree into its snapshot, with inodes of its own. Here it is the tree itself, left alone."""
    volumes = one.node.mechanisms.volumes
    make = volumes.create_snapshot

    async def create_snapshot(spec: SnapshotSpec) -> Snapshot:
        made = await make(spec)
        files, live = volumes._files(made.device), volumes._files(volumes.volumes[spec.pool, spec.volume].device)
        if not files.is_symlink():
            shutil.rmtree(files)
            files.symlink_to(live)
        return made

    volumes.create_snapshot = create_snapshot  # type: ignore[method-assign]


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    """A source with some files that were copied, and the node with their copy."""
    world = World()
    async with side(world, "a", tmp_path / "a") as a, side(world, "b", tmp_path / "b") as b:
        await pair(a.node, b.node)
        for one in (a, b):
            await furnish(one)
        freeze_in_place(a)
        for number in range(120):
            path = a.place("docs") / f"many/{number // 10}/{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(number))
        await make_task(a, b, "task", way="changes", retries=0)
        await asyncio.sleep(1.1)  # what changed a second before the freezing counts as changed afterwards
        await run(a, "task")
        yield a, b


async def last(a: Side) -> dict[str, Any]:
    found: dict[str, Any] = (await a.node.items("/v1/replication-runs?task=task"))[0]
    print(found["way"], found["way_reason"], found["counts"])
    return found


def assert_equal(a: Side, b: Side) -> None:
    assert differences(read_tree(a.place("docs")), read_tree(b.place("task"))) == ()


def listings(a: Side) -> list[str]:
    return sorted(path.suffix for path in (a.node.config.state_dir / "listings").iterdir())


async def test_only_what_changed_is_looked_at_and_the_copy_is_equal(sides: tuple[Side, Side]) -> None:
    a, b = sides
    assert (await last(a))["way"] == "walk"
    docs = a.place("docs")
    (docs / "many/0/1").write_text("changed")
    (docs / "many/0/new\nname").write_text("new")
    shutil.rmtree(docs / "many/1")
    (docs / "many/2/20").chmod(0o600)
    os.link(docs / "many/3/30", docs / "many/3/another name")
    counts = await run(a, "task")
    found = await last(a)
    assert (found["way"], found["result"]) == ("changes", "ok")
    assert "names changed or are new, 11 are gone" in found["way_reason"]
    assert (counts["files_deleted"], counts["files_sent"]) == (11, 2)
    assert counts["files_considered"] == len(read_tree(docs))
    assert_equal(a, b)
    assert listings(a) == [".listing"]
    # What a list does not see on the destination is found by the next walk.
    # Its folder's time is set back: the folders on the way to files of the sample are looked at.
    folder = b.place("task") / "many/4"
    status = folder.stat()
    (folder / "planted").write_text("planted")
    os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))
    await run(a, "task")
    assert (await last(a))["way"] == "changes"
    assert differences(read_tree(docs), read_tree(b.place("task"))) != ()
    await a.node.change("PATCH", TASK, {"way": "walk"})
    await run(a, "task")
    assert "the task asks for it" in (await last(a))["way_reason"]
    assert listings(a) == [], "none is kept where none is used"
    assert_equal(a, b)


async def test_too_many_deletions_are_refused_by_a_list_too_and_confirmed(sides: tuple[Side, Side]) -> None:
    a, b = sides
    shutil.rmtree(a.place("docs") / "many/1")
    await a.node.change("PATCH", TASK, {"most_deleted_percent": 5})
    before = read_tree(b.place("task"))
    with pytest.raises(Refused, match="11 of the 142 files of the copy would be deleted"):
        await run(a, "task")
    found = await last(a)
    assert (found["way"], found["result"]) == ("changes", "failed")
    assert read_tree(b.place("task")) == before
    assert listings(a) == [".listing"], "that of the last good run"
    assert (await run(a, "task", confirm_deletions=True))["files_deleted"] == 11
    assert (await last(a))["way"] == "changes"
    assert_equal(a, b)


async def test_a_list_that_cannot_be_copied_is_followed_by_a_walk_and_a_wrong_count_is_no_success(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = sides
    copy = a.driver.copy

    async def full(run: CopyRun, progress: Any) -> CopyResult:
        if run.changes is not None:
            raise NoSpaceError("the destination is full")
        return await copy(run, progress)

    (a.place("docs") / "many/0/1").write_text("changed")
    monkeypatch.setattr(a.driver, "copy", full)
    assert (await run(a, "task"))["files_sent"] == 1
    assert "of no use: the destination is full" in (await last(a))["way_reason"]
    assert_equal(a, b)

    async def short(run: CopyRun, progress: Any) -> CopyResult:
        result = await copy(run, progress)
        return replace(result, files_considered=result.files_considered - 1)

    monkeypatch.setattr(a.driver, "copy", short)
    (a.place("docs") / "many/0/2").write_text("changed")
    with pytest.raises(Refused, match="considered 4 names, and the source has 5"):
        await run(a, "task")
    monkeypatch.setattr(a.driver, "copy", copy)
    await run(a, "task")
    found = await last(a)
    assert (found["way"], "may have been written to" in found["way_reason"]) == ("walk", True)
    assert_equal(a, b)


async def test_a_replica_in_doubt_is_walked_and_a_look_ahead_tells_so(sides: tuple[Side, Side]) -> None:
    a, b = sides

    async def ahead() -> tuple[str, str]:
        seen = (await a.node.change("POST", f"{TASK}/dry-run"))["result"]
        return seen["way"], seen["way_reason"]

    for _ in range(2):
        assert (await ahead())[0] == "changes"
    await b.driver.distrust_replicas()  # as a restore from a snapshot does
    way, reason = await ahead()
    assert (way, "may have been written to" in reason) == ("walk", True)
    await run(a, "task")
    assert (await ahead())[0] == "changes"
    await a.node.change("POST", f"{TASK}/verify")
    assert "compares every file" in (await last(a))["way_reason"]
    assert (await ahead())[0] == "changes"
    await a.node.change("PATCH", TASK, {"filters": [{"pattern": "/many/3/", "is_included": False}]})
    way, reason = await ahead()
    assert (way, "the task was changed" in reason) == ("walk", True)
    await a.node.change("DELETE", TASK)
    await a.node.system.services.task_runs._ways.tidy()
    assert listings(a) == []
