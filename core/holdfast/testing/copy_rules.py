"""The contract of a copy driver, what is copied and how fast: part of `CopyContract`."""

# The names of the tests are the sentences of the contract.
# ruff: noqa: D102

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast.errors import DeniedError, RefusedError, UnavailableError
from holdfast.hooks.copying import CopyAction, CopyOptions, FilterRule
from holdfast.testing.trees import make_tree, read_tree
from holdfast.values import Secret

if TYPE_CHECKING:
    from holdfast.hooks.replication import CopyRun
    from holdfast.testing.copy import Bench

MIB = 1 << 20
RULES = (
    FilterRule("keep.tmp", is_included=True),
    FilterRule("*.tmp", is_included=False),
    FilterRule("/cache/", is_included=False),
    FilterRule("logs/**/old", is_included=False),
)
LEFT_OUT = ("a.tmp", "deep/b.tmp", "cache/x", "cache/deeper/y", "logs/1/2/old")
TAKEN = ("keep.tmp", "deep/cache/z", "deep/keep.tmp", "logs/old", "tmp", "cachet")


def run_within(bench: Bench, **options: object) -> CopyRun:
    """The bench's run with options."""
    return replace(bench.run, options=CopyOptions(**options))  # type: ignore[arg-type]


def write(bench: Bench, *names: str) -> None:
    """Files of those names in the source, and what they lie in."""
    for name in names:
        path = bench.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


class CopyRulesContract:
    """What every copy driver does about the options of a run."""

    # --- what is copied ---

    async def test_what_is_excluded_is_not_copied(self, bench: Bench) -> None:
        write(bench, *LEFT_OUT, *TAKEN)
        await bench.start()
        run = run_within(bench, filters=RULES)
        await bench.copy(run)
        assert {name for name in (*LEFT_OUT, *TAKEN) if (bench.replica / name).exists()} == set(TAKEN)
        assert await bench.driver.verify(run, sample=("keep.tmp", "a.tmp")) == ()

    async def test_what_is_excluded_is_left_alone_in_the_replica(self, bench: Bench) -> None:
        write(bench, *TAKEN)
        (bench.replica / "cache").mkdir()
        for name in ("theirs.tmp", "cache/theirs", "surplus"):
            (bench.replica / name).write_text("theirs")
        await bench.start()
        run = run_within(bench, filters=RULES)
        result = await bench.copy(run)
        assert result.files_deleted == 1
        assert (bench.replica / "theirs.tmp").read_text() == (bench.replica / "cache/theirs").read_text() == "theirs"
        assert not (bench.replica / "surplus").exists()
        assert await bench.driver.verify(run, sample=()) == ()

    async def test_without_deleting_the_surplus_stays_and_is_no_difference(self, bench: Bench) -> None:
        make_tree(bench.source)
        (bench.replica / "surplus").write_bytes(b"x")
        await bench.start()
        run = run_within(bench, is_deleting=False)
        assert (await bench.copy(run)).files_deleted == 0
        assert (bench.replica / "surplus").read_bytes() == b"x"
        assert await bench.driver.verify(run, sample=()) == ()
        (bench.replica / "docs/empty").unlink()
        assert [text.split(" ")[0] for text in await bench.driver.verify(run, sample=())] == ["docs", "docs/empty"]

    async def test_without_deleting_an_empty_source_is_copied(self, bench: Bench) -> None:
        (bench.replica / "kept").write_bytes(b"x")
        await bench.start()
        await bench.copy(run_within(bench, is_deleting=False))
        assert (bench.replica / "kept").read_bytes() == b"x"

    # --- how it crosses ---

    async def test_a_limited_copy_takes_its_time(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(os.urandom(MIB))
        await bench.start()
        started_s = time.monotonic()
        await bench.copy(run_within(bench, bandwidth_bytes_s=MIB))
        assert 0.6 < time.monotonic() - started_s < 5
        assert bench.differences() == ()

    async def test_a_copy_keeps_to_the_limit_of_its_replica(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(os.urandom(MIB))
        await bench.start(replace(bench.share, bandwidth_bytes_s=MIB))
        (shown,) = await bench.driver.browse(bench.agent)
        assert shown.bandwidth_bytes_s == MIB
        started_s = time.monotonic()
        await bench.copy(run_within(bench, bandwidth_bytes_s=1 << 40))
        assert 0.6 < time.monotonic() - started_s < 5

    async def test_a_compressed_copy_is_equal_and_less_crosses(self, bench: Bench) -> None:
        make_tree(bench.source)
        (bench.source / "text").write_bytes(b"the same words again\n" * 100_000)
        await bench.start()
        result = await bench.copy(run_within(bench, is_compressed=True))
        assert bench.differences() == ()
        assert result.sent_bytes < result.literal_bytes

    async def test_a_copy_cut_in_a_large_file_goes_on_from_there(self, bench: Bench) -> None:
        (bench.source / "deep").mkdir()
        (bench.source / "deep/large").write_bytes(os.urandom(4 * MIB))
        await bench.start()
        copying = asyncio.ensure_future(bench.copy(run_within(bench, bandwidth_bytes_s=2 * MIB)))
        await asyncio.sleep(1.5)
        copying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await copying
        assert not (bench.replica / "deep/large").exists()
        result = await bench.copy()
        assert result.literal_bytes < 3 * MIB
        assert bench.differences() == ()

    # --- what it would do ---

    async def test_a_preview_tells_what_a_copy_would_do_and_does_nothing(self, bench: Bench) -> None:
        make_tree(bench.source)
        await bench.start()
        await bench.copy()
        (bench.source / "docs/big").write_bytes(b"changed")
        (bench.source / "new\nfile").write_bytes(b"new")
        (bench.source / "sparse").chmod(0o640)
        (bench.source / "docs/empty").unlink()
        before = read_tree(bench.replica)
        seen = await bench.driver.preview(bench.run, most=100)
        assert read_tree(bench.replica) == before
        assert (seen.files_created, seen.files_sent, seen.files_deleted) == (1, 2, 1)
        assert (seen.files_in_replica, seen.to_send_bytes, seen.is_whole) == (len(before), 10, True)
        told = {change.path: (change.action, change.size_bytes) for change in seen.changes}
        assert told["docs/big"] == (CopyAction.SEND, 7)
        assert told["new\nfile"] == (CopyAction.SEND, 3)
        assert told["sparse"] == (CopyAction.UPDATE, None)
        assert told["docs/empty"] == (CopyAction.DELETE, None)
        assert set(told) <= {"docs/big", "new\nfile", "sparse", "docs/empty", "docs", "."}
        result = await bench.copy()
        assert (result.files_sent, result.files_deleted) == (2, 1)

    async def test_a_preview_names_as_many_as_are_wanted_and_counts_all(self, bench: Bench) -> None:
        make_tree(bench.source)
        (bench.replica / "surplus").write_bytes(b"x")
        await bench.start()
        seen = await bench.driver.preview(bench.run, most=3)
        assert (len(seen.changes), seen.is_whole) == (3, False)
        assert seen.files_deleted == 1
        assert seen.files_created == seen.files_considered - 1 == len(read_tree(bench.source)) - 1
        assert (await bench.driver.preview(bench.run, most=0)).changes == ()

    async def test_a_preview_keeps_to_the_rules(self, bench: Bench) -> None:
        write(bench, *LEFT_OUT, *TAKEN)
        (bench.replica / "theirs.tmp").write_text("theirs")
        (bench.replica / "surplus").write_text("theirs")
        await bench.start()
        seen = await bench.driver.preview(run_within(bench, filters=RULES), most=100)
        assert seen.files_deleted == 1
        assert not {change.path for change in seen.changes} & {*LEFT_OUT, "theirs.tmp"}
        seen = await bench.driver.preview(run_within(bench, is_deleting=False), most=100)
        assert (seen.files_deleted, seen.files_sent) == (0, len(LEFT_OUT) + len(TAKEN))

    async def test_a_preview_is_stopped_by_what_stops_a_copy(self, bench: Bench) -> None:
        await bench.assert_refused(UnavailableError, lambda: bench.driver.preview(bench.run, most=1))
        await bench.start()
        wrong = replace(bench.run, password=Secret("wrong"))
        await bench.assert_refused(DeniedError, lambda: bench.driver.preview(wrong, most=1))
        (bench.replica / "kept").write_bytes(b"x")
        await bench.assert_refused(RefusedError, lambda: bench.driver.preview(bench.run, most=1))
