"""Looks at the kernel: few at a time, each fresh, none waits for another's trouble."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import UnavailableError
from holdfast_rep_block.events import Picture
from holdfast_rep_block.looks import ALL, AT_ONCE, Looks


class Kernel:
    """Counts looks, and ends each when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.running = self.most = 0
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def look(self, name: str) -> Picture:
        self.asked.append(name)
        self.running += 1
        self.most = max(self.most, self.running)
        await self.go_on.wait()
        self.running -= 1
        if self.error is not None:
            raise self.error
        return Picture([])


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_mirror_is_read_by_itself() -> None:
    kernel = Kernel()
    kernel.go_on.set()
    looks = Looks(kernel.look)
    await looks.picture("m1")
    await looks.picture("m2")
    assert kernel.asked == ["m1", "m2"]


async def test_many_that_ask_at_once_are_answered_by_one_look() -> None:
    kernel = Kernel()
    kernel.go_on.set()
    looks = Looks(kernel.look)
    await asyncio.gather(*(looks.picture(f"m{n}") for n in range(64)))
    assert kernel.asked == [ALL]


async def test_who_asks_while_a_look_is_under_way_gets_one_that_began_later() -> None:
    kernel = Kernel()
    looks = Looks(kernel.look)
    first = asyncio.create_task(looks.picture("m1"))
    await settle()
    second = asyncio.create_task(looks.picture("m1"))
    await settle()
    others = [asyncio.create_task(looks.picture(f"m{n}")) for n in range(5)]
    await settle()
    assert (kernel.asked, kernel.most) == (["m1", "m1"], AT_ONCE)
    kernel.go_on.set()
    await asyncio.gather(first, second, *others)
    assert kernel.asked == ["m1", "m1", ALL]
    assert kernel.most == AT_ONCE


async def test_an_error_reaches_all_who_asked_and_nobody_after_them() -> None:
    kernel = Kernel()
    looks = Looks(kernel.look)
    kernel.error = UnavailableError("no")
    kernel.go_on.set()
    found = await asyncio.gather(*(looks.picture(f"m{n}") for n in range(3)), return_exceptions=True)
    assert found == [kernel.error] * 3
    kernel.error = None
    await looks.picture("m1")
    kernel.error = UnavailableError("again")
    with pytest.raises(UnavailableError):
        await looks.picture("m1")


async def test_who_gives_up_waiting_stops_nobody_else() -> None:
    kernel = Kernel()
    looks = Looks(kernel.look)
    one, other = (asyncio.create_task(looks.picture("m1")) for _ in range(2))
    await settle()
    one.cancel()
    await settle()
    kernel.go_on.set()
    await other
    assert one.cancelled()
    assert kernel.asked == ["m1"]
