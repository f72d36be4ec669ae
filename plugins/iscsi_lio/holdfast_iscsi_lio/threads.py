"""Threads that may be given up.

A write to configfs waits in the kernel until a session or a device lets go, which may be never, and no
signal ends it. A worker of `asyncio.to_thread` would then keep the process from ending; these
threads do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """Run `function` in a thread of its own; the future may be abandoned."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # a T, as there was no error

    def work() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = function()
        except BaseException as reason:
            error = reason
        # The loop is closed if nobody waited for us.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, daemon=True).start()
    return future


def side_by_side(functions: Sequence[Callable[[], None]], *, at_once: int = 8) -> None:
    """Run all, some at the same time, wait for all, then raise the first error in their order."""
    errors: list[BaseException | None] = [None] * len(functions)
    waiting = iter(enumerate(functions))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number, function = next(waiting, (-1, None))
            if function is None:
                return
            try:
                function()
            except BaseException as reason:
                errors[number] = reason

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(at_once, len(functions)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if error is not None:
            raise error
