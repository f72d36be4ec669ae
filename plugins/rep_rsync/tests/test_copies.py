"""Copies with real rsync, disturbed: frozen, cut, cancelled, orphaned, refused."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from holdfast.errors import BusyError, UnavailableError, VerificationError
from holdfast.hooks.replication import AgentSpec
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.ports import free_port
from holdfast.testing.trees import differences, read_tree
from holdfast_rep_rsync.options import PARTIAL
from plugins.rep_rsync.tests.machine import Machine, unreadable, wait_until

# More than what sockets and rsync keep between the two sides.
BEGINS_NOTHING = 5
"""Exit code of rsync(1): the protocol could not be begun."""
LARGE_BYTES = 24 << 20


def make_large_source(machine: Machine) -> None:
    (machine.source / "a large").write_bytes(os.urandom(1 << 20) * (LARGE_BYTES >> 20))
    (machine.source / "z small").write_bytes(b"small")


def kept_aside(machine: Machine) -> list[str]:
    """What of files is kept for the next copy; a temporary file beside it would be none of it."""
    hidden = [path.name for path in machine.replica.iterdir() if path.name.startswith(".")]
    assert hidden == [PARTIAL]
    return [path.name for path in (machine.replica / PARTIAL).iterdir()]


def assert_equal(machine: Machine) -> None:
    assert differences(read_tree(machine.source), read_tree(machine.replica)) == ()


async def test_new_replicas_do_not_cut_a_copy_under_way(machine: Machine) -> None:
    make_large_source(machine)
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    async with machine.frozen_copy(driver) as copying:
        await driver.start_agent(machine.spec, (machine.share, replace(machine.share, name="other")))
        assert len(await driver.browse(machine.spec)) == 2
        assert not copying.done()
    await copying
    assert_equal(machine)


async def test_the_death_of_the_listener_does_not_cut_a_copy_under_way(machine: Machine) -> None:
    make_large_source(machine)
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    async with machine.frozen_copy(driver) as copying:
        pid = machine.listener().pid
        os.kill(pid, signal.SIGKILL)
        await wait_until(lambda: any(p.is_leader and p.pid != pid for p in machine.processes()), within_s=5)
    await copying
    assert_equal(machine)


async def test_the_end_of_a_connection_process_fails_the_copy_and_the_next_one_is_whole(machine: Machine) -> None:
    make_large_source(machine)
    (machine.replica / "a large").write_bytes(b"old")
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    async with machine.frozen_copy(driver) as copying:
        for pid in machine.connections():
            os.kill(pid, signal.SIGKILL)
    with pytest.raises(UnavailableError):
        await copying
    assert (machine.replica / "a large").read_bytes() == b"old"
    await machine.copy(driver)
    assert_equal(machine)


async def test_stopping_the_agent_ends_the_copies_it_accepts(machine: Machine) -> None:
    make_large_source(machine)
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    async with machine.frozen_copy(driver, is_sender_frozen=True) as copying:
        async with asyncio.timeout(10):
            await driver.stop_agent()
        assert not any("--daemon" in process.argv for process in machine.processes())
        assert kept_aside(machine) == ["a large"]
    with pytest.raises(UnavailableError):
        await copying
    await driver.start_agent(machine.spec, (machine.share,))
    await machine.copy(driver)
    assert_equal(machine)


async def test_a_cancelled_copy_leaves_no_process_and_no_password(machine: Machine) -> None:
    make_large_source(machine)
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    async with machine.frozen_copy(driver) as copying:
        assert machine.clients()
        assert list((machine.run_dir / "runs").iterdir())
        copying.cancel()
        await asyncio.wait([copying])
        assert machine.clients() == []
        assert list((machine.run_dir / "runs").iterdir()) == []
    await wait_until(lambda: machine.connections() == [], within_s=5)
    assert kept_aside(machine) == ["a large"]
    await machine.copy(driver)
    assert_equal(machine)


@pytest.mark.parametrize("kind", ["file", "directory"])
async def test_what_a_source_calls_as_what_is_kept_aside_is_not_copied_and_told_as_missing(
    machine: Machine, kind: str
) -> None:
    (machine.source / "file").write_bytes(b"x")
    path = machine.source / PARTIAL
    path.write_bytes(b"x") if kind == "file" else path.mkdir()
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    await machine.copy(driver)
    assert [path.name for path in machine.replica.iterdir()] == ["file"]
    assert await driver.verify(machine.run, sample=()) == (f"{PARTIAL} is not in the replica",)


async def test_no_password_is_in_a_command_line_or_an_environment(machine: Machine) -> None:
    make_large_source(machine)
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    async with machine.frozen_copy(driver):
        shown = [
            KernelFs().read(f"/proc/{p.pid}/{name}") for p in machine.processes() for name in ("cmdline", "environ")
        ]
        assert shown
        assert not any("right" in text for text in shown)


async def test_one_replica_takes_one_copy_at_a_time(machine: Machine) -> None:
    make_large_source(machine)
    driver = await machine.open(busy_wait_s=0.3)
    await driver.start_agent(machine.spec, (machine.share,))
    async with machine.frozen_copy(driver) as copying:
        with pytest.raises(BusyError):
            await machine.copy(driver)
    await copying
    assert_equal(machine)


async def test_a_copy_waits_for_the_one_before_it(machine: Machine) -> None:
    make_large_source(machine)
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    async with machine.frozen_copy(driver):
        waiting = asyncio.create_task(machine.copy(driver))
        await asyncio.sleep(0.3)
        assert not waiting.done()
    assert (await waiting).files_sent == 0


async def test_two_replicas_take_copies_at_the_same_time(machine: Machine) -> None:
    make_large_source(machine)
    (machine.directory / "second").mkdir()
    driver = await machine.open()
    other = replace(machine.share, name="other", path=str(machine.directory / "second"))
    await driver.start_agent(machine.spec, (machine.share, other))
    async with machine.frozen_copy(driver):
        await driver.copy(replace(machine.run, replica="other"), lambda progress: None)
    assert_equal(machine)


async def test_a_file_that_cannot_be_read_fails_the_copy_by_its_name(machine: Machine) -> None:
    (machine.source / "fine").write_bytes(b"x")
    (machine.source / "unread").touch()
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    with unreadable(machine.source / "unread"):
        with pytest.raises(VerificationError, match=r"source could not be read whole.*/unread"):
            await machine.copy(driver)
        assert await driver.verify(machine.run, sample=("unread",)) != ()
    await machine.copy(driver)
    assert_equal(machine)


async def test_a_file_that_vanishes_during_the_copy_fails_it_by_its_name(machine: Machine) -> None:
    make_large_source(machine)
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    async with machine.frozen_copy(driver) as copying:
        (machine.source / "z small").unlink()
    with pytest.raises(VerificationError, match="z small"):
        await copying


async def test_a_copy_that_a_killed_daemon_left_is_ended_by_the_next_one(machine: Machine) -> None:
    make_large_source(machine)
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    (machine.source / "more").write_bytes(os.urandom(1 << 20) * (LARGE_BYTES >> 19))
    async with machine.stand_in("copy"):
        frozen = machine.connections()
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
    try:
        left = machine.clients()
        await machine.open()
        assert machine.clients() == []
        assert list((machine.run_dir / "runs").iterdir()) == []
        assert machine.listener()
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert left, "the copy ended before it could be orphaned"
    await machine.copy(driver)
    assert_equal(machine)


async def test_an_agent_that_accepts_and_says_nothing_is_unavailable_in_time(machine: Machine) -> None:
    driver = await machine.open(connect_timeout_s=1, io_timeout_s=1)

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(stay_silent, "127.0.0.1", machine.spec.port):
        (machine.source / "file").write_bytes(b"x")
        async with asyncio.timeout(10):
            with pytest.raises(UnavailableError):
                await machine.copy(driver)


async def test_a_server_of_another_kind_is_no_agent(machine: Machine) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    driver = await machine.open()
    async with await asyncio.start_server(greet, "127.0.0.1", machine.spec.port):
        with pytest.raises(UnavailableError, match="no agent"):
            await machine.copy(driver)


async def test_an_address_that_does_not_answer_is_unavailable_in_time(machine: Machine) -> None:
    driver = await machine.open(connect_timeout_s=1)
    (machine.source / "file").write_bytes(b"x")
    nowhere = AgentSpec("127.0.0.1", free_port())
    async with asyncio.timeout(10):
        with pytest.raises(UnavailableError, match="Connection refused"):
            await driver.copy(replace(machine.run, agent=nowhere), lambda progress: None)


async def test_the_agent_refuses_what_no_copy_of_ours_asks_for(machine: Machine) -> None:
    (machine.source / "file").write_bytes(b"x")
    (machine.replica / "kept").write_bytes(b"x")
    back = machine.directory / "back"
    back.mkdir()
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    url = f"rsync://copier@127.0.0.1:{machine.spec.port}/docs/"
    push = [f"{machine.source}/", url]
    for arguments in (
        [url, f"{back}/"],
        ["--inplace", *push],
        ["--write-devices", *push],
        ["-M--fake-super", *push],
    ):
        done = await machine.run_rsync("-r", *arguments)
        assert done != 0, arguments
    assert list(back.iterdir()) == []
    assert [path.name for path in machine.replica.iterdir()] == ["kept"]
    # The negative control: nothing but the option made the difference. One is served at a time, and the last one
    # that was refused may not have ended yet.
    for _ in range(100):
        if (done := await machine.run_rsync("-r", *push)) != BEGINS_NOTHING:
            break
        await asyncio.sleep(0.1)
    assert done == 0


async def test_links_in_the_replica_lead_no_copy_out_of_it(machine: Machine) -> None:
    outside = machine.directory / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"untouched")
    (machine.source / "docs").mkdir()
    (machine.source / "docs/file").write_bytes(b"new")
    (machine.replica / "docs").symlink_to(outside)
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    await machine.copy(driver)
    assert (outside / "file").read_bytes() == b"untouched"
    assert_equal(machine)
