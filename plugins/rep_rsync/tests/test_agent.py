"""The agent as a process of this machine: started, watched, adopted, replaced, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
from dataclasses import replace

import pytest

from holdfast.errors import InvalidError, UnavailableError
from holdfast.hooks.replication import AgentSpec
from holdfast.testing.ports import free_port
from holdfast.testing.trees import differences, read_tree
from holdfast.values import Secret
from plugins.rep_rsync.tests.machine import Machine, wait_until, wait_until_running

RESTART_WITHIN_S = 5.0


async def test_a_killed_agent_is_started_again(machine: Machine) -> None:
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    for _ in range(2):
        os.kill(machine.listener().pid, signal.SIGKILL)
        await wait_until(lambda: machine.processes() == (), within_s=1)
        await wait_until_running(driver, within_s=RESTART_WITHIN_S)
    (machine.source / "file").write_bytes(b"x")
    await machine.copy(driver)
    assert differences(read_tree(machine.source), read_tree(machine.replica)) == ()


async def test_a_stopped_agent_is_not_started_again(machine: Machine) -> None:
    driver = await machine.open(restart_delay_s=0.01)
    await driver.start_agent(machine.spec, (machine.share,))
    await driver.stop_agent()
    await asyncio.sleep(0.2)
    assert machine.processes() == ()


async def test_the_agent_goes_on_when_the_driver_is_closed_and_the_next_one_adopts_it(machine: Machine) -> None:
    first = await machine.open()
    await first.start_agent(machine.spec, (machine.share,))
    pid = machine.listener().pid
    await first.close()
    second = await machine.open(restart_delay_s=0.01)
    assert await second.is_agent_running()
    await second.start_agent(machine.spec, (machine.share,))
    assert machine.listener().pid == pid
    os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: pid not in [p.pid for p in machine.processes()] != [], within_s=RESTART_WITHIN_S)


async def test_the_agent_of_a_killed_daemon_is_adopted_with_new_replicas(machine: Machine) -> None:
    async with machine.stand_in("agent"):
        pid = machine.listener().pid
    assert machine.listener().pid == pid
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share, replace(machine.share, name="other")))
    assert machine.listener().pid == pid
    assert [replica.name for replica in await driver.browse(machine.spec)] == ["docs", "other"]


async def test_the_agent_of_a_killed_daemon_on_another_port_is_replaced(machine: Machine) -> None:
    async with machine.stand_in("agent"):
        old = machine.listener().pid
    driver = await machine.open()
    moved = AgentSpec("127.0.0.1", free_port())
    await driver.start_agent(moved, (machine.share,))
    assert machine.listener().pid != old
    with pytest.raises(UnavailableError):
        await driver.browse(machine.spec)


async def test_the_agent_of_a_killed_daemon_is_stopped(machine: Machine) -> None:
    async with machine.stand_in("agent"):
        pass
    driver = await machine.open()
    assert await driver.is_agent_running()
    await driver.stop_agent()
    assert machine.processes() == ()


async def test_an_agent_that_hangs_is_replaced(machine: Machine) -> None:
    driver = await machine.open(connect_timeout_s=1)
    await driver.start_agent(machine.spec, (machine.share,))
    pid = machine.listener().pid
    os.kill(pid, signal.SIGSTOP)
    await driver.start_agent(machine.spec, (machine.share,))
    assert machine.listener().pid != pid
    assert await driver.is_agent_running()


async def test_a_port_held_by_another_program_is_said_and_the_program_left_alone(machine: Machine) -> None:
    driver = await machine.open()
    with socket.socket() as foreign:
        foreign.bind((machine.spec.address, machine.spec.port))
        foreign.listen()
        with pytest.raises(UnavailableError, match="Address already in use"):
            await driver.start_agent(machine.spec, (machine.share,))
        assert machine.processes() == ()
        assert not await driver.is_agent_running()
    await driver.start_agent(machine.spec, (machine.share,))
    assert await driver.is_agent_running()


async def test_one_that_ends_before_it_was_ever_seen_is_not_waited_for(machine: Machine) -> None:
    killed_at_once = machine.directory / "killed-at-once"
    killed_at_once.write_text("#!/bin/sh\nexit 0\n")
    killed_at_once.chmod(0o700)
    machine.settings = replace(machine.settings, program=str(killed_at_once))
    driver = await machine.open(agent_start_timeout_s=3600.0)
    with pytest.raises(UnavailableError, match="it gave no reason"):
        async with asyncio.timeout(10):
            await driver.start_agent(machine.spec, (machine.share,))


async def test_an_rsync_daemon_that_is_not_ours_is_never_taken_for_ours(machine: Machine) -> None:
    config = machine.directory / "foreign.conf"
    config.write_text(f"[theirs]\npath = {machine.replica}\n")
    foreign = await asyncio.create_subprocess_exec(
        *(
            "rsync",
            "--daemon",
            "--no-detach",
            f"--config={config}",
            "--address=127.0.0.1",
            f"--port={machine.spec.port}",
        )
    )
    try:
        driver = await machine.open()
        await wait_until(lambda: _answers(machine.spec), within_s=5)
        assert not await driver.is_agent_running()
        with pytest.raises(UnavailableError, match="Address already in use"):
            await driver.start_agent(machine.spec, (machine.share,))
        await driver.stop_agent()
        assert foreign.returncode is None
    finally:
        foreign.kill()
        await foreign.wait()


def _answers(spec: AgentSpec) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((spec.address, spec.port), timeout=1):
        return True
    return False


async def test_an_agent_whose_port_was_taken_meanwhile_comes_back_when_it_is_free(machine: Machine) -> None:
    driver = await machine.open(restart_delay_s=0.3, restart_delay_limit_s=0.3)
    await driver.start_agent(machine.spec, (machine.share,))
    os.kill(machine.listener().pid, signal.SIGKILL)
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await wait_until(lambda: _binds(foreign, machine.spec), within_s=2)
        foreign.listen()
        await asyncio.sleep(0.8)
        assert not await driver.is_agent_running()
    await wait_until_running(driver, within_s=RESTART_WITHIN_S)


def _binds(foreign: socket.socket, spec: AgentSpec) -> bool:
    with contextlib.suppress(OSError):
        foreign.bind((spec.address, spec.port))
        return True
    return False


async def test_an_agent_listens_on_all_addresses_of_both_families(machine: Machine) -> None:
    driver = await machine.open()
    for address in ("0.0.0.0", "::1"):  # noqa: S104 - within a test
        await driver.start_agent(AgentSpec(address, machine.spec.port), (machine.share,))
        assert await driver.is_agent_running()
    (machine.source / "file").write_bytes(b"x")
    share = replace(machine.share, allowed_sources=("::1",))
    await driver.start_agent(AgentSpec("::1", machine.spec.port), (share,))
    await driver.copy(replace(machine.run, agent=AgentSpec("::1", machine.spec.port)), lambda progress: None)
    assert (machine.replica / "file").read_bytes() == b"x"


async def test_secrets_are_for_root_only_and_gone_with_their_replica(machine: Machine) -> None:
    driver = await machine.open()
    other = replace(machine.share, name="other", password=Secret("second secret"))
    await driver.start_agent(machine.spec, (machine.share, other))
    secrets = sorted((machine.run_dir / "agent/secrets").iterdir())
    assert [path.name for path in secrets] == ["docs", "other"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert stat.S_IMODE((machine.run_dir / "agent/rsyncd.conf").stat().st_mode) == 0o600
    await driver.start_agent(machine.spec, (machine.share,))
    assert [path.name for path in (machine.run_dir / "agent/secrets").iterdir()] == ["docs"]
    await driver.stop_agent()
    assert not any((machine.run_dir / "agent/secrets").iterdir())
    assert "right" not in (machine.run_dir / "agent/log").read_text()


async def test_a_replica_that_rsync_would_misread_is_refused_before_anything_changes(machine: Machine) -> None:
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    with pytest.raises(InvalidError):
        await driver.start_agent(machine.spec, (replace(machine.share, path="/srv\nuid = 1"),))
    assert [replica.name for replica in await driver.browse(machine.spec)] == ["docs"]


async def test_the_log_of_an_agent_stays_small(machine: Machine) -> None:
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    log_file = machine.run_dir / "agent/log"
    with log_file.open("ab") as stream:
        stream.write(b"x" * (2 << 20))
    # It is looked at whenever watching begins.
    await driver.close()
    await driver.start_agent(machine.spec, (machine.share,))
    await wait_until(lambda: log_file.stat().st_size < 1 << 20, within_s=2)
    await driver.browse(machine.spec)
    assert b"\0" not in log_file.read_bytes()
