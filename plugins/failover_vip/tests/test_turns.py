"""Turns of takeovers: few at once, in the order of asking, and those that hang hold up nobody for long."""

from __future__ import annotations

import asyncio

from holdfast_failover_vip.turns import Turns


async def test_few_at_once_and_the_first_that_asks_is_the_first_served() -> None:
    turns, running, most, served = Turns(at_once=3), 0, 0, []

    async def take_over(number: int) -> None:
        nonlocal running, most
        async with turns.one():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1
            served.append(number)

    await asyncio.gather(*(take_over(number) for number in range(20)))
    assert most == 3
    assert served == list(range(20))


async def test_one_that_fails_gives_its_turn_back() -> None:
    turns = Turns(at_once=1, waits_s=60)

    async def fail() -> None:
        async with turns.one():
            raise RuntimeError("it failed")

    await asyncio.gather(fail(), fail(), fail(), return_exceptions=True)
    async with asyncio.timeout(1), turns.one():
        pass


async def test_those_that_hang_hold_up_nobody_for_long() -> None:
    turns, over = Turns(at_once=2, waits_s=0.05), asyncio.Event()

    async def hang() -> None:
        async with turns.one():
            await over.wait()

    hung = [asyncio.create_task(hang()) for _ in range(2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(1), turns.one():
        pass
    over.set()
    await asyncio.gather(*hung)
    # Who went without a turn gave none back that it did not have.
    assert turns._free._value == 2
