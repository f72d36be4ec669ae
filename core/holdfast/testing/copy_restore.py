"""The part of a copy driver's contract that gives back, as tests: subclass `RestoreContract`, override `driver`.

The bench is that of `testing.copy`: what is restored lies in its source, and where it is restored to is its replica.
"""

# The names of the tests are the sentences of the contract.
# ruff: noqa: D102

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from holdfast.errors import BusyError, DeniedError, InvalidError, NotFoundError, RefusedError, UnavailableError
from holdfast.hooks.copy_restore import Effect, RestorePreview, RestoreRun
from holdfast.hooks.replication import CopyDriver, CopyResult
from holdfast.testing.copy import LATER, NOTE, OTHER, Bench, open_bench
from holdfast.testing.trees import Entry, differences, make_tree, read_tree
from holdfast.values import Secret

HELD_S = 0.3
"""How long a copy is watched to see that it waits."""


def restoring(bench: Bench, *paths: str, into: str = "", deletes: bool = False, by_content: bool = False) -> RestoreRun:
    """A restore that is right in every respect."""
    return RestoreRun(bench.run, paths, into, deletes=deletes, by_content=by_content)


async def restore(bench: Bench, run: RestoreRun) -> CopyResult:
    """Restore, without a look at its progress."""
    return await bench.driver.restore(run, lambda progress: None)


async def told(bench: Bench, run: RestoreRun) -> tuple[RestorePreview, dict[str, Effect]]:
    """A preview, and what it says of each path."""
    shown = await bench.driver.preview_restore(run)
    return shown, {change.path: change.effect for change in shown.changes}


def below(tree: dict[bytes, Entry], name: str) -> dict[bytes, Entry]:
    """What of a tree lies at or below a name; of hard links only those within."""
    top = os.fsencode(name)
    found = {key: entry for key, entry in tree.items() if key == top or key.startswith(top + b"/")}
    return {
        key: replace(entry, other_names=tuple(other for other in entry.other_names if other in found))
        for key, entry in found.items()
    }


class RestoreContract:
    """What every copy driver gives back, and how."""

    @pytest.fixture
    def driver(self) -> CopyDriver:
        """The driver under test."""
        raise AssertionError("override this fixture")

    @pytest.fixture
    async def bench(self, driver: CopyDriver, tmp_path: Path) -> AsyncIterator[Bench]:
        """See Bench. Its source has one of everything, its replica one file that nobody asks for."""
        async with open_bench(driver, tmp_path) as bench:
            make_tree(bench.source)
            (bench.replica / "bystander").write_text("of the day")
            (bench.replica / "docs").mkdir()
            (bench.replica / "docs/draft").write_text("of the day")
            await bench.start()
            yield bench
        await driver.close()

    async def test_what_is_named_is_restored_in_every_attribute_and_nothing_else_is_touched(self, bench: Bench) -> None:
        before = read_tree(bench.replica)
        await restore(bench, restoring(bench, "docs/letter", "empty directory", "sparse", "link out"))
        source, replica = read_tree(bench.source), read_tree(bench.replica)
        for name in ("sparse", "link out"):
            assert differences(below(source, name), below(replica, name)) == ()
        # The folder's hard link to a letter outside of it is one here too, for both were named.
        assert replica[b"docs/letter"].content == source[b"docs/letter"].content
        assert replica[b"docs/letter"].attributes == source[b"docs/letter"].attributes
        assert replica[b"docs/letter"].modified_ns == source[b"docs/letter"].modified_ns
        assert replica[b"empty directory"] == source[b"empty directory"]
        for untouched in (b"bystander", b"docs/draft"):
            assert replica[untouched] == before[untouched]
        assert not (bench.replica / "docs/big").exists()

    async def test_the_folders_on_the_way_stay_as_they_are(self, bench: Bench) -> None:
        (bench.replica / "docs").chmod(0o701)
        os.chown(bench.replica / "docs", 77, 78)
        await restore(bench, restoring(bench, "docs/letter"))
        status = (bench.replica / "docs").stat()
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o701, 77, 78)

    async def test_all_is_restored_where_nothing_is_named(self, bench: Bench) -> None:
        await restore(bench, restoring(bench))
        source, replica = read_tree(bench.source), read_tree(bench.replica)
        for name in ("docs/draft", "bystander"):
            assert replica.pop(os.fsencode(name)).kind == "-"
        assert differences(source, replica) == ()

    async def test_it_is_restored_into_a_folder_that_is_made(self, bench: Bench) -> None:
        await restore(bench, restoring(bench, "docs", into="back/of.monday"))
        source = below(read_tree(bench.source), "docs")
        assert differences(source, below(read_tree(bench.replica / "back/of.monday"), "docs")) == ()
        assert {path.name for path in bench.replica.iterdir()} == {"bystander", "docs", "back"}

    async def test_any_name_is_restored(self, bench: Bench) -> None:
        from holdfast.testing.trees import HOSTILE_NAMES

        await restore(bench, restoring(bench, *(os.fsdecode(name) for name in HOSTILE_NAMES)))
        source, replica = read_tree(bench.source), read_tree(bench.replica)
        for name in HOSTILE_NAMES:
            assert differences(below(source, os.fsdecode(name)), below(replica, os.fsdecode(name))) == ()

    async def test_nothing_is_removed_unless_it_is_asked_for(self, bench: Bench) -> None:
        result = await restore(bench, restoring(bench, "docs"))
        assert (bench.replica / "docs/draft").exists()
        assert result.files_deleted == 0
        result = await restore(bench, restoring(bench, "docs", deletes=True))
        assert not (bench.replica / "docs/draft").exists()
        assert (bench.replica / "bystander").exists()
        assert result.files_deleted == 1
        await restore(bench, restoring(bench, deletes=True))
        assert bench.differences() == ()

    async def test_an_empty_source_empties_nothing(self, bench: Bench) -> None:
        empty = bench.directory / "empty"
        empty.mkdir()
        run = replace(restoring(bench, deletes=True), run=replace(bench.run, source=str(empty)))
        await bench.assert_refused(RefusedError, lambda: restore(bench, run))

    async def test_a_preview_tells_what_would_be_done_and_does_nothing(self, bench: Bench) -> None:
        (bench.replica / "sparse").write_bytes(b"other")
        (bench.replica / "docs/letter").write_bytes((bench.source / "docs/letter").read_bytes())
        status = (bench.source / "docs/letter").stat()
        os.utime(bench.replica / "docs/letter", ns=(status.st_mtime_ns, status.st_mtime_ns))
        before = read_tree(bench.replica)
        run = restoring(bench, "docs", "sparse", "new\nline", deletes=True)
        shown, effects = await told(bench, run)
        assert differences(before, read_tree(bench.replica)) == ()
        assert effects["sparse"] is Effect.OVERWRITTEN
        assert effects["docs/letter"] is Effect.CHANGED
        assert effects["docs/big"] is Effect.WRITTEN
        assert effects["docs/draft"] is Effect.REMOVED
        assert "bystander" not in effects
        assert shown.removed == 1
        assert shown.overwritten == 1
        assert shown.written == sum(effect is Effect.WRITTEN for effect in effects.values())
        assert shown.content_bytes >= (bench.source / "docs/big").stat().st_size
        result = await restore(bench, run)
        assert result.files_deleted == shown.removed
        shown, effects = await told(bench, run)
        assert shown.is_empty, effects

    async def test_a_preview_into_a_folder_that_is_not_there_makes_none(self, bench: Bench) -> None:
        shown, effects = await told(bench, restoring(bench, "docs/letter", into="back"))
        assert effects.get("docs/letter") is Effect.WRITTEN, effects
        assert shown.removed == 0
        assert not (bench.replica / "back").exists()

    async def test_changed_content_with_the_old_time_is_seen_and_mended_by_content(self, bench: Bench) -> None:
        await restore(bench, restoring(bench, "docs/big"))
        path = bench.replica / "docs/big"
        status = path.stat()
        path.write_bytes(path.read_bytes().translate(OTHER))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert (await bench.driver.preview_restore(restoring(bench, "docs/big"))).overwritten == 0
        assert (await bench.driver.preview_restore(restoring(bench, "docs/big", by_content=True))).overwritten == 1
        await restore(bench, restoring(bench, "docs/big", by_content=True))
        assert path.read_bytes() == (bench.source / "docs/big").read_bytes()
        assert (await bench.driver.preview_restore(restoring(bench, "docs/big", by_content=True))).is_empty

    async def test_a_full_verification_tells_each_difference_and_changes_nothing(self, bench: Bench) -> None:
        await bench.copy()
        assert await bench.driver.verify_all(bench.run) == ()
        for name in ("docs/big", "percent%n"):
            path = bench.replica / name
            status = path.stat()
            path.write_bytes(path.read_bytes().translate(OTHER))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        (bench.replica / "pipe").chmod(0o600)
        (bench.replica / "surplus").write_bytes(b"x")
        before = read_tree(bench.source), read_tree(bench.replica)
        assert await bench.verify() != ()
        told = await bench.driver.verify_all(bench.run)
        assert (read_tree(bench.source), read_tree(bench.replica)) == before
        for name in ("docs/big", "percent%n", "pipe", "surplus"):
            assert any(text.startswith(f"{name} ") for text in told), (name, told)
        assert not any(text.startswith(("sparse", "deep", "null")) for text in told), told
        # A copy goes by size and time, and leaves what only its content betrays; one by content mends it.
        await bench.copy()
        assert await bench.driver.verify_all(bench.run) != ()
        await restore(bench, restoring(bench, deletes=True, by_content=True))
        assert await bench.driver.verify_all(bench.run) == ()
        assert bench.differences() == ()

    # --- what is refused ---

    async def test_a_path_that_leaves_the_source_is_refused(self, bench: Bench) -> None:
        (bench.directory / "secret").write_text("not of the copy")
        (bench.source / "way out").symlink_to("..")
        for path in ("../secret", "/etc/passwd", "docs/../../secret", "way out/secret", "link to docs/letter", "a\0b"):
            await bench.assert_refused(InvalidError, partial(restore, bench, restoring(bench, path)))
            await bench.assert_refused(InvalidError, partial(bench.driver.preview_restore, restoring(bench, path)))
        for into in ("../beside", "/beside", "a/../../b"):
            await bench.assert_refused(InvalidError, partial(restore, bench, restoring(bench, "docs", into=into)))
        assert not (bench.directory / "beside").exists()

    async def test_a_path_that_is_not_there_is_not_found_and_nothing_is_written(self, bench: Bench) -> None:
        for path in ("docs/none", "none/letter"):
            run = restoring(bench, "docs/letter", path)
            await bench.assert_refused(NotFoundError, partial(restore, bench, run))

    async def test_a_link_in_the_way_leads_nothing_out_of_the_replica(self, bench: Bench) -> None:
        outside = bench.directory / "outside"
        outside.mkdir()
        for name in ("deep", "back"):
            (bench.replica / name).symlink_to(outside)
        for run in (restoring(bench, "deep"), restoring(bench, "docs/letter", into="back")):
            with contextlib.suppress(Exception):
                await restore(bench, run)
        assert list(outside.iterdir()) == []
        assert not (bench.replica / "deep").is_symlink()

    async def test_who_may_not_copy_may_not_restore(self, bench: Bench) -> None:
        run = replace(restoring(bench, "docs"), run=replace(bench.run, password=Secret("wrong")))
        await bench.assert_refused(DeniedError, lambda: restore(bench, run))
        await bench.assert_refused(DeniedError, lambda: bench.driver.preview_restore(run))
        await bench.assert_refused(DeniedError, lambda: bench.driver.replica_facts(run.run))

    # --- holding a replica share ---

    async def test_a_held_replica_takes_no_copy(self, bench: Bench) -> None:
        before = read_tree(bench.replica)
        async with bench.driver.hold("docs"):
            copying = asyncio.ensure_future(bench.copy())
            await asyncio.wait([copying], timeout=HELD_S)
            assert differences(before, read_tree(bench.replica)) == ()
        with contextlib.suppress(BusyError):
            await copying
        await bench.copy()
        assert bench.differences() == ()

    async def test_a_held_replica_is_not_held_twice(self, bench: Bench) -> None:
        async with bench.driver.hold("docs"):
            with pytest.raises(BusyError):
                async with bench.driver.hold("docs"):
                    raise AssertionError("it was held twice")
        async with bench.driver.hold("docs"):
            pass
        with pytest.raises(NotFoundError):
            async with bench.driver.hold("no-such"):
                raise AssertionError("it was held")

    async def test_who_holds_is_told_the_note_only_while_nobody_wrote_since(self, bench: Bench) -> None:
        async with bench.driver.hold("docs") as note:
            assert note is None
        await bench.copy()
        await bench.verify()
        async with bench.driver.hold("docs") as note:
            assert note is None
        for left in (NOTE, LATER):
            await bench.driver.leave_note(bench.run, left)
            async with bench.driver.hold("docs") as note:
                assert note == left
        await bench.start()
        async with bench.driver.hold("docs") as note:
            assert note == LATER, "the agent was only told the same again"
        await bench.copy()
        async with bench.driver.hold("docs") as note:
            assert note is None

    # --- facts ---

    async def test_the_facts_are_those_of_the_replica(self, bench: Bench) -> None:
        before = datetime.now(UTC)
        facts = await bench.driver.replica_facts(bench.run)
        there = os.statvfs(bench.replica)
        assert facts.capacity_bytes == there.f_blocks * there.f_frsize
        assert 0 < facts.free_bytes <= facts.capacity_bytes
        assert before <= facts.now <= datetime.now(UTC)
        with pytest.raises(NotFoundError):
            await bench.driver.replica_facts(replace(bench.run, replica="no-such"))
        await bench.driver.stop_agent()
        with pytest.raises(UnavailableError):
            await bench.driver.replica_facts(bench.run)
