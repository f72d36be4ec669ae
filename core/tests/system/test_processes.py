"""Processes of a plugin as a real kernel has them: one that ended is gone, whatever is left of its session."""

from __future__ import annotations

import asyncio
import os
import signal

from holdfast.system import processes
from holdfast.system.kernelfs import KernelFs

SHORT_S = 5.0


async def test_one_that_ended_is_gone_though_its_session_lives_on() -> None:
    # The shell leads a session, and ends before what it has started there.
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-c", "sleep 60 >/dev/null & echo $!"), stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert shell.stdout is not None
    left = int(await shell.stdout.readline())
    await shell.wait()
    try:
        async with asyncio.timeout(SHORT_S):
            await processes.ended(shell.pid)
            processes.send(KernelFs(), processes.Process(shell.pid, ("sh",), True), signal.SIGTERM)
        assert os.getsid(left) == shell.pid
    finally:
        os.kill(left, signal.SIGKILL)


async def test_it_is_waited_for_until_it_has_ended_and_a_stranger_gets_no_signal() -> None:
    sleeping = await asyncio.create_subprocess_exec("sleep", "60")
    waiting = asyncio.ensure_future(processes.ended(sleeping.pid))
    processes.send(KernelFs(), processes.Process(sleeping.pid, ("another", "60"), False), signal.SIGKILL)
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await processes.end(KernelFs(), [processes.Process(sleeping.pid, ("sleep", "60"), False)], patience_s=SHORT_S)
    async with asyncio.timeout(SHORT_S):
        await waiting
    assert await sleeping.wait() == -signal.SIGTERM
