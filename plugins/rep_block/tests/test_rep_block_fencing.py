"""The fence helper as the kernel runs it, and the socket that answers it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from holdfast.errors import BusyError, RefusedError, UnavailableError
from holdfast.hooks.replication import FenceAnswer, FenceArbiter
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.mirror import RecordingArbiter
from holdfast_rep_block import fencing
from holdfast_rep_block.fencing import EXIT_CODES, USERMODE_HELPER, FenceServer, helper_path, install, render

FAKE_DRBDSETUP = """#!/bin/sh
echo "exists resource name:$3 role:{role} suspended:no"
echo "exists connection name:$3 connection:{connection} role:Unknown"
echo "exists -"
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path the kernel would take."""
    with tempfile.TemporaryDirectory(prefix="hf") as name:
        yield Path(name)


class Machine:
    """Directories, a kernel tree and a drbdsetup that tells the role and connection wanted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernel = KernelFs(root / "kernel")
        parameter = self.kernel.path(USERMODE_HELPER)
        parameter.parent.mkdir(parents=True)
        parameter.write_text("/sbin/drbdadm")
        self.drbdsetup = root / "drbdsetup"
        self.is_now("Primary", "Connecting")
        install(root, root, str(self.drbdsetup), self.kernel)

    def is_now(self, role: str, connection: str) -> None:
        fresh = self.root / "drbdsetup.fresh"
        fresh.write_text(FAKE_DRBDSETUP.format(role=role, connection=connection))
        fresh.chmod(0o755)
        fresh.rename(self.drbdsetup)

    async def run(self, *words: str) -> asyncio.subprocess.Process:
        """Run the helper as the kernel does: nearly no environment, and no standard streams at all."""
        environment = {"HOME": "/", "TERM": "linux", "PATH": "/sbin:/usr/sbin:/bin:/usr/bin"}
        script = ("/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
        return await asyncio.create_subprocess_exec(*script, str(helper_path(self.root)), *words, env=environment)

    @contextlib.asynccontextmanager
    async def serving(self, arbiter: FenceArbiter) -> AsyncIterator[None]:
        async def name_of(subject: str) -> str:
            return {"minor-3": "m0"}.get(subject, subject)

        task = asyncio.ensure_future(FenceServer(self.root, name_of).serve(arbiter))
        while not fencing.socket_path(self.root).exists() and not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def machine(short: Path) -> Machine:
    return Machine(short)


async def ends(process: asyncio.subprocess.Process, within_s: float = 5.0) -> int:
    return await asyncio.wait_for(process.wait(), within_s)


async def still_runs(process: asyncio.subprocess.Process, for_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), for_s)
    return process.returncode is None


@pytest.mark.parametrize(("verdict", "code"), EXIT_CODES.items())
async def test_each_verdict_has_the_exit_code_of_the_kernels_table(
    machine: Machine, verdict: FenceAnswer, code: int
) -> None:
    arbiter = RecordingArbiter(verdict)
    async with machine.serving(arbiter):
        assert await ends(await machine.run("fence-peer", "m0")) == code
    assert arbiter.asked == ["m0"]


async def test_a_running_primary_waits_until_somebody_listens(machine: Machine) -> None:
    process = await machine.run("fence-peer", "m0")
    assert await still_runs(process, 1.5)
    async with machine.serving(RecordingArbiter(FenceAnswer.PEER_OUTDATED)):
        assert await ends(process) == 4


async def test_it_asks_again_when_whoever_was_asked_goes_away(machine: Machine) -> None:
    mute = RecordingArbiter()
    async with machine.serving(mute):
        process = await machine.run("fence-peer", "m0")
        assert await still_runs(process, 0.8)
    assert mute.asked == ["m0"]
    async with machine.serving(RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)):
        assert await ends(process) == 5


async def test_an_arbiter_that_cannot_tell_leaves_it_waiting(machine: Machine) -> None:
    class Failing(RecordingArbiter):
        async def fence_peer(self, mirror: str) -> FenceAnswer:
            self.asked.append(mirror)
            raise UnavailableError("no evidence")

    async with machine.serving(Failing()):
        process = await machine.run("fence-peer", "m0")
        assert await still_runs(process, 0.8)
    process.kill()
    await process.wait()


async def test_a_promotion_is_refused_soon_when_nobody_listens(machine: Machine) -> None:
    machine.is_now("Secondary", "StandAlone")
    assert await ends(await machine.run("fence-peer", "m0"), 2.0) == 1


async def test_a_promotion_is_refused_when_nobody_answers(machine: Machine) -> None:
    machine.is_now("Secondary", "StandAlone")
    async with machine.serving(RecordingArbiter()):
        assert await ends(await machine.run("fence-peer", "m0"), 4.0) == 1


async def test_it_ends_when_the_peer_is_back_and_nobody_is_asked_any_more(machine: Machine) -> None:
    asked = asyncio.Event()
    cancelled = asyncio.Event()

    class Slow(RecordingArbiter):
        async def fence_peer(self, mirror: str) -> FenceAnswer:
            asked.set()
            try:
                return await super().fence_peer(mirror)
            finally:
                cancelled.set()

    async with machine.serving(Slow()):
        process = await machine.run("fence-peer", "m0")
        await asyncio.wait_for(asked.wait(), 3)
        machine.is_now("Primary", "Connected")
        assert await ends(process, 3.0) == 1
        await asyncio.wait_for(cancelled.wait(), 2)


async def test_other_events_are_told_with_the_mirrors_name_and_wait_for_nobody(machine: Machine) -> None:
    assert await ends(await machine.run("split-brain", "minor-3"), 2.0) == 0
    arbiter = RecordingArbiter()
    async with machine.serving(arbiter):
        assert await ends(await machine.run("local-io-error", "minor-3"), 2.0) == 0
        for _ in range(100):
            if arbiter.events:
                break
            await asyncio.sleep(0.01)
    assert arbiter.events == [("m0", "local-io-error")]


async def test_only_one_process_answers(machine: Machine) -> None:
    async with machine.serving(RecordingArbiter()):
        with pytest.raises(BusyError):
            await FenceServer(machine.root, lambda subject: asyncio.sleep(0, subject)).serve(RecordingArbiter())


async def test_two_questions_are_answered_at_once(machine: Machine) -> None:
    arbiter = RecordingArbiter()
    async with machine.serving(arbiter):
        processes = [await machine.run("fence-peer", name) for name in ("m0", "m1")]
        for _ in range(300):
            if len(arbiter.asked) == 2:
                break
            await asyncio.sleep(0.01)
        assert sorted(arbiter.asked) == ["m0", "m1"]
        arbiter.verdict = FenceAnswer.PEER_FENCED
        assert [await ends(process) for process in processes] == [7, 7]


async def test_a_user_other_than_root_gets_no_answer(machine: Machine) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    arbiter = RecordingArbiter(FenceAnswer.PEER_OUTDATED)
    async with machine.serving(arbiter):
        # Even if the directory let others in.
        machine.root.chmod(0o755)
        fencing.socket_path(machine.root).chmod(0o666)
        script = (
            "import os, socket, sys\n"
            "os.setuid(65534)\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
            "try:\n    s.send(b'fence-peer m0\\n')\n    sys.exit(len(s.recv(9)))\n"
            "except ConnectionError:\n    sys.exit(0)"
        )
        process = await asyncio.create_subprocess_exec(
            "/usr/bin/python3", "-c", script, str(fencing.socket_path(machine.root))
        )
        assert await ends(process) == 0
    assert arbiter.asked == []


def test_the_helper_is_installed_for_root_alone_and_named_to_the_kernel_once(short: Path) -> None:
    machine = Machine(short)
    path = helper_path(short)
    assert path.stat().st_mode & 0o777 == 0o700
    parameter = machine.kernel.path(USERMODE_HELPER)
    assert parameter.read_text() == str(path)
    before = path.stat().st_mtime_ns, parameter.stat().st_mtime_ns
    install(short, short, str(machine.drbdsetup), machine.kernel)
    assert (path.stat().st_mtime_ns, parameter.stat().st_mtime_ns) == before
    path.write_bytes(b"#!/bin/false\n")
    install(short, short, str(machine.drbdsetup), machine.kernel)
    assert path.read_bytes() == render(fencing.socket_path(short), str(machine.drbdsetup), _interpreter(path))


def _interpreter(path: Path) -> str:
    return path.read_text().splitlines()[0].removeprefix("#!").removesuffix(" -IS")


def test_a_path_that_the_kernel_would_cut_short_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 80)
    deep.mkdir()
    with pytest.raises(RefusedError) as refusal:
        install(deep, tmp_path, "/usr/sbin/drbdsetup", KernelFs(tmp_path))
    assert refusal.value.reasons[0].remedy
    assert not helper_path(deep).exists()
