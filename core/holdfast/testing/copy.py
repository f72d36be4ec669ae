"""The contract of a copy driver as tests: subclass `CopyContract` and override the fixture `driver`.

One driver plays both sides on this machine's loopback, with real directories. Needs root.
"""

# The names of the tests are the sentences of the contract.
# ruff: noqa: D102

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from holdfast.errors import (
    DeniedError,
    HoldfastError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    VerificationError,
)
from holdfast.hooks.replication import (
    AgentSpec,
    CopyDriver,
    CopyNote,
    CopyProgress,
    CopyResult,
    CopyRun,
    ReplicaShare,
)
from holdfast.testing.copy_changes import CopyChangesContract
from holdfast.testing.copy_rules import CopyRulesContract
from holdfast.testing.copy_transport import CopyTransportContract
from holdfast.testing.ports import free_port
from holdfast.testing.trees import HOSTILE_NAMES, differences, make_tree, read_tree
from holdfast.values import Secret

SMALL_BYTES = 2 << 20
NOTE = CopyNote("task", "node-a", datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC), 3600)
LATER = CopyNote("t" * 31, "n" * 31, datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), None)
OTHER = bytes(byte ^ 1 for byte in range(256))
"""Every byte as another one."""


@contextlib.contextmanager
def small_file_system(directory: Path) -> Iterator[Path]:
    """A file system of SMALL_BYTES at `directory` as long as the context lasts."""
    directory.mkdir()
    options = f"size={SMALL_BYTES},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "holdfast-test", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@dataclass
class Bench:
    """A driver, its agent, and one source and one replica directory."""

    driver: CopyDriver
    directory: Path
    agent: AgentSpec

    @property
    def source(self) -> Path:
        """What is copied."""
        return self.directory / "source"

    @property
    def replica(self) -> Path:
        """Where it is copied to."""
        return self.directory / "replica"

    @property
    def share(self) -> ReplicaShare:
        """The replica share `docs`."""
        return ReplicaShare("docs", str(self.replica), "copier", Secret("right: pass # word"), ("127.0.0.1",))

    @property
    def run(self) -> CopyRun:
        """A run that is right in every respect."""
        return CopyRun(str(self.source), self.agent, "docs", "copier", self.share.password)

    async def start(self, *shares: ReplicaShare) -> None:
        """Run the agent with these shares, or with `docs`."""
        await self.driver.start_agent(self.agent, shares or (self.share,))

    async def copy(self, run: CopyRun | None = None) -> CopyResult:
        """Copy, without a look at its progress."""
        return await self.driver.copy(run or self.run, lambda progress: None)

    async def verify(self, *sample: str) -> tuple[str, ...]:
        """Verify."""
        return await self.driver.verify(self.run, sample=sample)

    def differences(self) -> tuple[str, ...]:
        """What is not equal on both sides, as read by the kit itself."""
        return differences(read_tree(self.source), read_tree(self.replica))

    async def assert_refused(self, kind: type[HoldfastError], attempt: Callable[[], Awaitable[object]]) -> None:
        """Assert that `attempt` raises `kind` with words for a person, and changes nothing on the destination."""
        before = read_tree(self.replica)
        with pytest.raises(kind) as caught:
            await attempt()
        assert caught.value.message
        assert self.share.password.reveal() not in str(caught.value)
        assert differences(before, read_tree(self.replica)) == ()


@contextlib.asynccontextmanager
async def open_bench(driver: CopyDriver, directory: Path) -> AsyncIterator[Bench]:
    """A bench on a free port; its agent is stopped at the end."""
    bench = Bench(driver, directory, AgentSpec("127.0.0.1", free_port()))
    bench.source.mkdir()
    bench.replica.mkdir()
    try:
        yield bench
    finally:
        await driver.stop_agent()


class CopyContract(CopyTransportContract, CopyRulesContract, CopyChangesContract):
    """What every copy driver does."""

    @pytest.fixture
    def driver(self) -> CopyDriver:
        """The driver under test."""
        raise AssertionError("override this fixture")

    @pytest.fixture
    async def bench(self, driver: CopyDriver, tmp_path: Path) -> AsyncIterator[Bench]:
        """See Bench."""
        async with open_bench(driver, tmp_path) as bench:
            yield bench
        await driver.close()

    # --- the copy ---

    async def test_a_first_copy_is_equal_in_every_attribute(self, bench: Bench) -> None:
        make_tree(bench.source)
        await bench.start()
        result = await bench.copy()
        assert bench.differences() == ()
        assert result.files_considered == len(read_tree(bench.source))
        assert result.literal_bytes <= result.considered_bytes

    async def test_a_copy_replaces_whatever_was_in_the_replica(self, bench: Bench) -> None:
        make_tree(bench.source)
        (bench.replica / "docs").write_text("a file where a directory is to be")
        (bench.replica / "null").mkdir()
        (bench.replica / "null" / "below").write_text("x")
        (bench.replica / "link out").mkdir()
        (bench.replica / "pipe").write_text("x")
        os.setxattr(bench.replica, "user.extra", b"x")
        await bench.start()
        await bench.copy()
        assert bench.differences() == ()

    async def test_a_copy_of_what_is_equal_sends_nothing(self, bench: Bench) -> None:
        make_tree(bench.source)
        await bench.start()
        await bench.copy()
        result = await bench.copy()
        assert (result.files_sent, result.files_deleted, result.literal_bytes) == (0, 0, 0)
        assert bench.differences() == ()

    async def test_a_second_copy_moves_only_the_change(self, bench: Bench) -> None:
        make_tree(bench.source)
        await bench.start()
        await bench.copy()
        with (bench.source / "docs/big").open("r+b") as stream:
            stream.seek(100_000)
            stream.write(b"changed")
        (bench.source / "docs/fresh").write_bytes(b"new\n")
        result = await bench.copy()
        assert bench.differences() == ()
        assert result.files_sent == 2
        assert 0 < result.literal_bytes < (bench.source / "docs/big").stat().st_size / 10

    async def test_a_change_within_the_same_second_at_the_same_size_is_copied(self, bench: Bench) -> None:
        path = bench.source / "file"
        path.write_bytes(b"one")
        os.utime(path, ns=(1_700_000_000_100_000_000,) * 2)
        await bench.start()
        await bench.copy()
        path.write_bytes(b"two")
        os.utime(path, ns=(1_700_000_000_200_000_000,) * 2)
        await bench.copy()
        assert bench.differences() == ()

    async def test_a_copy_deletes_exactly_what_left_the_source(self, bench: Bench) -> None:
        make_tree(bench.source)
        await bench.start()
        await bench.copy()
        gone = [bench.source / "docs/empty", bench.source / "link out", bench.source / os.fsdecode(HOSTILE_NAMES[0])]
        for path in gone:
            path.unlink()
        result = await bench.copy()
        assert result.files_deleted == len(gone)
        assert bench.differences() == ()

    async def test_changed_attributes_alone_are_copied(self, bench: Bench) -> None:
        make_tree(bench.source)
        await bench.start()
        await bench.copy()
        (bench.source / "docs/big").chmod(0o600)
        os.chown(bench.source / "sparse", 1, 2)
        os.removexattr(bench.source / "docs/letter", "user.colour")
        os.removexattr(bench.source / "docs", "system.posix_acl_default")
        (bench.source / "same letter").unlink()
        (bench.source / "same letter").write_bytes((bench.source / "docs/letter").read_bytes())
        await bench.copy()
        assert bench.differences() == ()

    async def test_the_progress_grows_and_reaches_all_that_was_sent(self, bench: Bench) -> None:
        make_tree(bench.source)
        await bench.start()
        seen: list[CopyProgress] = []
        result = await bench.driver.copy(bench.run, seen.append)
        sizes = [progress.sent_bytes for progress in seen]
        assert sizes == sorted(sizes)
        assert sizes
        assert sizes[-1] >= result.literal_bytes
        assert all(progress.percent is None or 0 <= progress.percent <= 100 for progress in seen)

    async def test_a_cancelled_copy_can_be_made_again(self, bench: Bench) -> None:
        make_tree(bench.source)
        await bench.start()
        started = asyncio.Event()
        copying = asyncio.ensure_future(bench.driver.copy(bench.run, lambda progress: started.set()))
        waiting = asyncio.ensure_future(started.wait())
        await asyncio.wait((copying, waiting), return_when=asyncio.FIRST_COMPLETED)
        for task in (waiting, copying):
            task.cancel()
        await asyncio.wait((copying, waiting))
        await bench.copy()
        assert bench.differences() == ()

    # --- what stops a copy ---

    async def test_a_wrong_password_is_denied(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        await bench.start()
        wrong = replace(bench.run, password=Secret("wrong"))
        await bench.assert_refused(DeniedError, lambda: bench.copy(wrong))
        await bench.assert_refused(DeniedError, lambda: bench.driver.verify(wrong, sample=()))

    async def test_a_wrong_user_is_denied(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        await bench.start()
        await bench.assert_refused(DeniedError, lambda: bench.copy(replace(bench.run, user="other")))

    async def test_the_password_of_another_replica_is_denied(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        other = replace(bench.share, name="other", user="neighbour", password=Secret("also right"))
        await bench.start(bench.share, other)
        run = replace(bench.run, user=other.user, password=other.password)
        await bench.assert_refused(DeniedError, lambda: bench.copy(run))

    async def test_a_source_that_is_not_allowed_is_denied(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        await bench.start(replace(bench.share, allowed_sources=("192.0.2.1",)))
        await bench.assert_refused(DeniedError, bench.copy)
        await bench.start(replace(bench.share, allowed_sources=()))
        await bench.assert_refused(DeniedError, bench.copy)

    async def test_an_unknown_replica_is_not_found(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        await bench.start()
        await bench.assert_refused(NotFoundError, lambda: bench.copy(replace(bench.run, replica="no-such")))

    async def test_an_unreachable_agent_is_unavailable(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        await bench.assert_refused(UnavailableError, bench.copy)
        await bench.assert_refused(UnavailableError, bench.verify)
        await bench.assert_refused(UnavailableError, lambda: bench.driver.browse(bench.agent))

    async def test_a_missing_source_fails_and_deletes_nothing(self, bench: Bench) -> None:
        make_tree(bench.replica)
        bench.source.rmdir()
        await bench.start()
        await bench.assert_refused(VerificationError, bench.copy)

    async def test_an_empty_source_empties_no_replica(self, bench: Bench) -> None:
        await bench.start()
        await bench.copy()
        make_tree(bench.replica)
        await bench.assert_refused(RefusedError, bench.copy)

    async def test_a_missing_replica_directory_fails(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        await bench.start()
        bench.replica.rmdir()
        with pytest.raises(UnavailableError):
            await bench.copy()
        assert not bench.replica.exists()

    async def test_a_full_destination_has_no_space_and_nothing_half_written(self, bench: Bench) -> None:
        (bench.source / "large").write_bytes(b"x" * (SMALL_BYTES + 1))
        (bench.source / "small").write_bytes(b"small")
        with small_file_system(bench.directory / "small") as directory:
            await bench.start(replace(bench.share, path=str(directory)))
            with pytest.raises(NoSpaceError):
                await bench.copy()
            assert {path.name for path in directory.iterdir()} <= {"small"}

    async def test_what_is_gone_makes_room_for_what_is_new(self, bench: Bench) -> None:
        with small_file_system(bench.directory / "small") as directory:
            await bench.start(replace(bench.share, path=str(directory)))
            (bench.source / "z old").write_bytes(b"x" * (SMALL_BYTES * 3 // 4))
            await bench.copy()
            (bench.source / "z old").rename(bench.directory / "away")
            (bench.source / "a new").write_bytes(b"y" * (SMALL_BYTES * 3 // 4))
            await bench.copy()
            assert differences(read_tree(bench.source), read_tree(directory)) == ()

    # --- the verification ---

    async def test_a_copy_verifies_as_equal(self, bench: Bench) -> None:
        make_tree(bench.source)
        await bench.start()
        await bench.copy()
        sample = tuple(os.fsdecode(name) for name in read_tree(bench.source))
        assert await bench.verify(*sample) == ()
        assert await bench.verify() == ()

    async def test_each_difference_in_metadata_is_told_by_its_path(self, bench: Bench) -> None:
        make_tree(bench.source)
        await bench.start()
        await bench.copy()
        (bench.replica / "docs/big").chmod(0o666)
        os.chown(bench.replica / "sparse", 1, 1)
        os.setxattr(bench.replica / "docs/letter", "user.colour", b"red")
        os.removexattr(bench.replica / "docs", "system.posix_acl_default")
        os.utime(bench.replica / "docs/empty", ns=(0, 1_600_000_000_000_000_001))
        (bench.replica / "link out").unlink()
        (bench.replica / "surplus\nfile").write_bytes(b"x")
        told = await bench.verify()
        for name in ("docs/big", "sparse", "docs/letter", "docs", "docs/empty", "link out", "surplus\nfile"):
            assert any(text.startswith(f"{name} ") for text in told), (name, told)
        assert not any(text.startswith(("deep", "null", "pipe", "empty directory ")) for text in told), told

    async def test_changed_content_with_the_old_time_is_told_if_it_is_sampled(self, bench: Bench) -> None:
        make_tree(bench.source)
        await bench.start()
        await bench.copy()
        names = ("docs/big", *(os.fsdecode(name) for name in HOSTILE_NAMES))
        for name in names:
            path = bench.replica / name
            status = path.stat()
            path.write_bytes(path.read_bytes().translate(OTHER))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert await bench.verify("docs/letter", "sparse") == ()
        told = await bench.verify(*names)
        shown = [name.encode(errors="surrogateescape").decode(errors="backslashreplace") for name in names]
        assert len(told) == len(names), told
        for name in shown:
            assert any(text.startswith(f"{name} ") for text in told), (name, told)

    async def test_a_verification_changes_nothing(self, bench: Bench) -> None:
        make_tree(bench.source)
        (bench.replica / "surplus").write_bytes(b"x")
        await bench.start()
        before = read_tree(bench.source), read_tree(bench.replica)
        assert await bench.verify("docs/big") != ()
        assert (read_tree(bench.source), read_tree(bench.replica)) == before

    # --- the notes ---

    async def test_the_newest_note_lies_with_its_replica(self, bench: Bench) -> None:
        make_tree(bench.source)
        other = replace(bench.share, name="other", path=str(bench.directory))
        await bench.start(bench.share, other)
        await bench.copy()
        assert await bench.driver.read_notes() == {}
        for note in (NOTE, LATER, NOTE):
            await bench.driver.leave_note(bench.run, note)
            assert await bench.driver.read_notes() == {"docs": note}
        await bench.driver.leave_note(replace(bench.run, replica="other"), LATER)
        assert await bench.driver.read_notes() == {"docs": NOTE, "other": LATER}
        assert bench.differences() == ()

    async def test_who_may_not_copy_leaves_no_note(self, bench: Bench) -> None:
        await bench.assert_refused(UnavailableError, lambda: bench.driver.leave_note(bench.run, NOTE))
        await bench.start()
        for run, error in (
            (replace(bench.run, password=Secret("wrong")), DeniedError),
            (replace(bench.run, user="other"), DeniedError),
            (replace(bench.run, replica="no-such"), NotFoundError),
        ):
            await bench.assert_refused(error, partial(bench.driver.leave_note, run, NOTE))
        await bench.start(replace(bench.share, allowed_sources=("192.0.2.1",)))
        with pytest.raises((DeniedError, NotFoundError)):
            await bench.driver.leave_note(bench.run, NOTE)
        assert await bench.driver.read_notes() == {}

    async def test_a_note_stays_while_the_agent_is_changed(self, bench: Bench) -> None:
        await bench.start()
        await bench.driver.leave_note(bench.run, NOTE)
        bench.agent = AgentSpec("127.0.0.1", free_port())
        await bench.start(replace(bench.share, password=Secret("changed")), replace(bench.share, name="other"))
        assert await bench.driver.read_notes() == {"docs": NOTE}

    async def test_a_note_goes_with_its_replica(self, bench: Bench) -> None:
        await bench.start()
        await bench.driver.leave_note(bench.run, NOTE)
        await bench.start(replace(bench.share, name="other"))
        await bench.start()
        assert await bench.driver.read_notes() == {}

    async def test_notes_go_with_the_agent(self, bench: Bench) -> None:
        await bench.start()
        await bench.driver.leave_note(bench.run, NOTE)
        await bench.driver.stop_agent()
        assert await bench.driver.read_notes() == {}
        await bench.start()
        assert await bench.driver.read_notes() == {}

    # --- the agent ---

    async def test_an_agent_offers_exactly_its_replicas(self, bench: Bench) -> None:
        other = replace(bench.share, name="other")
        await bench.start(bench.share, other)
        assert [replica.name for replica in await bench.driver.browse(bench.agent)] == ["docs", "other"]
        await bench.start(other)
        assert [replica.name for replica in await bench.driver.browse(bench.agent)] == ["other"]
        await bench.assert_refused(NotFoundError, bench.copy)

    async def test_an_agent_without_replicas_runs(self, bench: Bench) -> None:
        await bench.driver.start_agent(bench.agent, ())
        assert await bench.driver.is_agent_running()
        assert await bench.driver.browse(bench.agent) == ()

    async def test_a_changed_password_counts_at_once(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        await bench.start()
        await bench.copy()
        await bench.start(replace(bench.share, password=Secret("changed")))
        await bench.assert_refused(DeniedError, bench.copy)
        await bench.copy(replace(bench.run, password=Secret("changed")))

    async def test_starting_the_agent_again_is_success(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        await bench.start()
        await bench.start()
        assert await bench.driver.is_agent_running()
        await bench.copy()

    async def test_an_agent_moves_to_another_port(self, bench: Bench) -> None:
        old = bench.agent
        await bench.start()
        bench.agent = AgentSpec("127.0.0.1", free_port())
        await bench.start()
        assert [replica.name for replica in await bench.driver.browse(bench.agent)] == ["docs"]
        with pytest.raises(UnavailableError):
            await bench.driver.browse(old)

    async def test_changing_the_replicas_cuts_no_copy(self, bench: Bench) -> None:
        make_tree(bench.source)
        await bench.start()
        started = asyncio.Event()
        copying = asyncio.ensure_future(bench.driver.copy(bench.run, lambda progress: started.set()))
        waiting = asyncio.ensure_future(started.wait())
        await asyncio.wait((copying, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await bench.start(bench.share, replace(bench.share, name="other"))
        await copying
        assert bench.differences() == ()

    async def test_a_stopped_agent_accepts_nothing(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        await bench.start()
        await bench.driver.stop_agent()
        assert not await bench.driver.is_agent_running()
        await bench.assert_refused(UnavailableError, bench.copy)
        await bench.driver.stop_agent()
        await bench.start()
        await bench.copy()
