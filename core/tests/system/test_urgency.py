"""How urgent commands are: as urgent as this process, or as urgent as asked for."""

from __future__ import annotations

import os

import pytest

from holdfast.system.command import SystemCommands

ASK = ["sh", "-c", "sleep 0.2; exec nice"]


@pytest.mark.parametrize("niceness", [None, 7])
async def test_commands_have_the_niceness_that_was_asked_for(niceness: int | None) -> None:
    done = await SystemCommands(niceness=niceness).run(ASK, timeout_s=10)
    assert int(done.stdout) == (os.getpriority(os.PRIO_PROCESS, 0) if niceness is None else niceness)


async def test_a_command_that_is_over_at_once_is_no_error() -> None:
    for _ in range(20):
        await SystemCommands(niceness=5).run(["true"], timeout_s=10)
