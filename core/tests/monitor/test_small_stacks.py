"""The monitor locks its memory, stacks of threads whole: they have to be small, and few."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.monitor import __main__ as monitor
from holdfast.system.command import SystemCommands


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = threading.stack_size()
    yield
    threading.stack_size(before)


def test_threads_of_the_monitor_have_small_stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def run(main: Coroutine[Any, Any, None]) -> None:
        main.close()
        found.append(threading.stack_size())

    monkeypatch.setattr(asyncio, "run", run)
    settings = tmp_path / "holdfast.toml"
    settings.write_text(f'node = "a"\nstate_dir = "{tmp_path}"\n')
    monitor.main(["--config", str(settings)])
    assert found == [monitor.STACK_BYTES]
    assert monitor.STACK_BYTES * monitor.THREADS <= 8 * 1024 * 1024


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="it is so by itself")
async def test_a_command_is_waited_for_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    start = threading.Thread.start

    def note(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", note)

    async def threads_of_a_command() -> list[str]:
        started.clear()
        assert (await SystemCommands().run(("/bin/true",), timeout_s=5.0)).returncode == 0
        return list(started)

    usual = asyncio.get_child_watcher()
    assert await threads_of_a_command() != []
    try:
        monitor.wait_without_threads()
        assert await threads_of_a_command() == []
    finally:
        asyncio.set_child_watcher(usual)
