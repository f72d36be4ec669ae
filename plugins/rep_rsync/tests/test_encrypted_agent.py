"""The encrypted agent as processes: adopted, started again, changed and stopped, with real stunnel and rsync."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import NoSpaceError, UnavailableError
from holdfast.hooks.replication import AgentSpec
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.certificates import make_identity
from holdfast.testing.copy import small_file_system
from holdfast.testing.trees import differences, read_tree
from plugins.rep_rsync.tests.machine import Machine, wait_until, wait_until_running

LARGE_BYTES = 24 << 20


@pytest.fixture
def encrypted(machine: Machine) -> Machine:
    """A machine that copies to itself, encrypted."""
    tls = make_identity(machine.directory / "keys", "a")
    machine.spec = AgentSpec(machine.spec.address, machine.spec.port, tls)
    (machine.source / "a large").write_bytes(os.urandom(1 << 20) * (LARGE_BYTES >> 20))
    return machine


def tunnels(machine: Machine) -> list[int]:
    """The processes of the agent's own end."""
    return machine.processes_with("/agent/tunnel@")


async def test_an_encrypted_agent_goes_on_after_its_daemon_and_is_adopted_by_the_next(encrypted: Machine) -> None:
    driver = await encrypted.open()
    await driver.start_agent(encrypted.spec, (encrypted.share,))
    before = tunnels(encrypted)
    await driver.close()
    driver = await encrypted.open()
    assert await driver.is_agent_running()
    await driver.start_agent(encrypted.spec, (encrypted.share,))
    assert tunnels(encrypted) == before != []
    await encrypted.copy(driver)
    assert differences(read_tree(encrypted.source), read_tree(encrypted.replica)) == ()


async def test_an_encrypted_agent_that_dies_comes_back(encrypted: Machine) -> None:
    driver = await encrypted.open()
    await driver.start_agent(encrypted.spec, (encrypted.share,))
    (pid,) = tunnels(encrypted)
    os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: tunnels(encrypted) not in ([], [pid]), within_s=5)
    await wait_until_running(driver, within_s=5)
    await encrypted.copy(driver)


async def test_new_certificates_and_replicas_cut_no_copy(encrypted: Machine) -> None:
    driver = await encrypted.open()
    await driver.start_agent(encrypted.spec, (encrypted.share,))
    assert encrypted.spec.tls is not None
    more = make_identity(encrypted.directory / "keys", "more")
    wider = replace(encrypted.spec.tls, trusted=(*encrypted.spec.tls.trusted, *more.trusted))
    async with encrypted.frozen_copy(driver, is_sender_frozen=True) as copying:
        spec = replace(encrypted.spec, tls=wider)
        await driver.start_agent(spec, (encrypted.share, replace(encrypted.share, name="other")))
        assert len(await driver.browse(replace(spec, tls=replace(more, trusted=wider.trusted)))) == 2
        assert not copying.done()
    await copying
    assert differences(read_tree(encrypted.source), read_tree(encrypted.replica)) == ()


async def test_stopping_an_encrypted_agent_ends_what_it_accepted(encrypted: Machine) -> None:
    driver = await encrypted.open()
    await driver.start_agent(encrypted.spec, (encrypted.share,))
    async with encrypted.frozen_copy(driver, is_sender_frozen=True) as copying:
        await driver.stop_agent()
        assert tunnels(encrypted) == []
        assert encrypted.processes_with("rsyncd.conf") == []
    with pytest.raises(UnavailableError):
        await copying
    assert not list((encrypted.run_dir / "agent").glob("tunnel@*"))


async def test_a_taken_port_is_said(encrypted: Machine) -> None:
    driver = await encrypted.open()
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        foreign.bind((encrypted.spec.address, encrypted.spec.port))
        foreign.listen()
        with pytest.raises(UnavailableError, match="Address already in use"):
            await driver.start_agent(encrypted.spec, (encrypted.share,))


async def test_a_cancelled_encrypted_copy_leaves_no_process_and_no_file(encrypted: Machine) -> None:
    driver = await encrypted.open()
    await driver.start_agent(encrypted.spec, (encrypted.share,))
    async with encrypted.frozen_copy(driver, is_sender_frozen=True) as copying:
        shown = [KernelFs().read(f"/proc/{p.pid}/cmdline") for p in encrypted.processes()]
        assert not any("right" in text or "PRIVATE KEY" in text for text in shown)
        copying.cancel()
    assert encrypted.processes_with("/runs/") == []
    assert list((encrypted.run_dir / "runs").iterdir()) == []


async def test_an_encrypted_agent_listens_on_the_sixth_version_s_addresses(encrypted: Machine) -> None:
    spec = replace(encrypted.spec, address="::1")
    driver = await encrypted.open()
    await driver.start_agent(spec, (replace(encrypted.share, allowed_sources=("::1",)),))
    await driver.copy(replace(encrypted.run, agent=spec), lambda progress: None)
    assert differences(read_tree(encrypted.source), read_tree(encrypted.replica)) == ()


async def test_a_destination_that_gets_full_is_told_as_such_though_the_tunnel_ends_with_it(
    encrypted: Machine, tmp_path: Path
) -> None:
    with small_file_system(tmp_path / "small") as small:
        share = replace(encrypted.share, path=str(small))
        driver = await encrypted.open()
        await driver.start_agent(encrypted.spec, (share,))
        with pytest.raises(NoSpaceError, match="is full"):
            await encrypted.copy(driver)
        assert [path.name for path in small.iterdir()] == []
