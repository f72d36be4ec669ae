"""The daemon asks the monitor over a unix socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import BusyError, ConfirmationError, Reason, RefusedError, UnavailableError
from holdfast.hooks.failover import GroupState, MonitorStatus
from holdfast.testing.fakes import ScriptedCommands, make_host
from holdfast_failover_vip.control import ask, serve, socket_path
from holdfast_failover_vip.driver import open_driver
from holdfast_failover_vip.facts import GroupView
from holdfast_failover_vip.forecast import forecast
from holdfast_failover_vip.settings import Settings
from plugins.failover_vip.tests.test_decide import PEER_ACTIVE, STANDBY

REASON = Reason("not-in-sync", "g is frozen", "wait")


async def echo(asked: Mapping[str, Any]) -> object:
    return {"heard": asked["word"]}


async def refuse(asked: Mapping[str, Any]) -> object:
    raise RefusedError("not now", reasons=[REASON])


async def fail(asked: Mapping[str, Any]) -> object:
    raise ZeroDivisionError


async def hang(asked: Mapping[str, Any]) -> object:
    await asyncio.Event().wait()
    return None


def is_open(path: Path) -> bool:
    return path.is_socket() and path.stat().st_mode & 0o777 == 0o600


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    found = socket_path(tmp_path)
    # What a killed monitor left is in nobody's way.
    found.touch()
    serving = asyncio.create_task(serve(found, {"echo": echo, "refuse": refuse, "fail": fail, "hang": hang}))
    while not is_open(found):  # noqa: ASYNC110 - the kernel sends no event
        await asyncio.sleep(0.001)
    yield found
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def test_an_answer_comes_back(path: Path) -> None:
    assert await ask(path, "echo", timeout_s=5, word="x") == {"heard": "x"}


async def test_many_may_ask_at_once(path: Path) -> None:
    answers = await asyncio.gather(*(ask(path, "echo", timeout_s=5, word=number) for number in range(10)))
    assert [answer["heard"] for answer in answers] == list(range(10))


async def test_only_root_may_open_the_socket(path: Path) -> None:
    assert is_open(path)


async def test_a_refusal_comes_back_with_its_reasons(path: Path) -> None:
    with pytest.raises(RefusedError, match="not now") as caught:
        await ask(path, "refuse", timeout_s=5)
    assert tuple(caught.value.reasons) == (REASON,)


async def test_an_unknown_command_is_refused(path: Path) -> None:
    with pytest.raises(RefusedError, match="no command"):
        await ask(path, "dance", timeout_s=5)


async def test_a_command_that_fails_is_refused_and_the_monitor_goes_on(path: Path) -> None:
    with pytest.raises(RefusedError, match="ZeroDivisionError"):
        await ask(path, "fail", timeout_s=5)
    assert await ask(path, "echo", timeout_s=5, word=1)


async def test_what_is_no_question_is_answered_by_silence(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"no json\n")
    assert await reader.read() == b""
    writer.close()
    assert await ask(path, "echo", timeout_s=5, word=1)


async def test_an_absent_monitor_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        await ask(socket_path(tmp_path), "status", timeout_s=5)


async def test_a_monitor_that_does_not_answer_in_time_is_unavailable(path: Path) -> None:
    with pytest.raises(UnavailableError):
        await ask(path, "hang", timeout_s=0.05)


@contextlib.asynccontextmanager
async def monitor_of(path: Path, view: GroupView) -> AsyncIterator[None]:
    """A monitor that has one view to tell."""

    async def tell(asked: Mapping[str, Any]) -> object:
        return view

    serving = asyncio.create_task(serve(path, {"view": tell}))
    while not is_open(path):  # noqa: ASYNC110 - the kernel sends no event
        await asyncio.sleep(0.001)
    yield
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def test_the_driver_plays_what_the_monitor_knows(tmp_path: Path) -> None:
    host = make_host(tmp_path, commands=ScriptedCommands(lambda argv, _: None))
    driver = await open_driver(Settings(), host)
    async with monitor_of(socket_path(host.run_dir), STANDBY):
        assert await driver.forecast("g") == forecast(STANDBY, Settings().timers)


@pytest.mark.parametrize(
    "view",
    [
        replace(STANDBY, state=GroupState.PROMOTING),
        replace(STANDBY, peer=replace(PEER_ACTIVE, state=GroupState.PROMOTING)),
    ],
)
async def test_nothing_is_foreseen_while_a_takeover_is_under_way(tmp_path: Path, view: GroupView) -> None:
    host = make_host(tmp_path, commands=ScriptedCommands(lambda argv, _: None))
    driver = await open_driver(Settings(), host)
    async with monitor_of(socket_path(host.run_dir), view):
        with pytest.raises(BusyError):
            await driver.forecast("g")


async def test_the_driver_says_what_a_dead_monitor_means(tmp_path: Path) -> None:
    driver = await open_driver(Settings(), make_host(tmp_path, commands=ScriptedCommands(lambda argv, _: None)))
    assert await driver.status() == MonitorStatus(is_running=False)
    assert await driver.decisions() == ()
    with pytest.raises(UnavailableError):
        await driver.plan_written()
    with pytest.raises(UnavailableError):
        await driver.forecast("g")
    with pytest.raises(UnavailableError):
        await driver.switch_over("g", to="b", deadline_s=1)
    with pytest.raises(UnavailableError):
        await driver.grant_promotion("g", confirm="g")
    with pytest.raises(ConfirmationError):
        await driver.grant_promotion("g", confirm="h")
