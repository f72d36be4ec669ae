"""What composed tests do about connections to a daemon that has ended."""

from __future__ import annotations

import asyncio

from holdfast.testing.ports import free_port
from tests.composed.appliance import LOOPBACK, cut_off


async def test_a_connection_that_its_server_has_forgotten_is_cut_off_and_no_other() -> None:
    gone, stays = free_port(LOOPBACK), free_port(LOOPBACK)
    accepted = asyncio.Queue[asyncio.StreamWriter]()
    at = [await asyncio.start_server(lambda _, writer: accepted.put_nowait(writer), LOOPBACK, p) for p in (gone, stays)]
    ends = [await asyncio.open_connection(LOOPBACK, port) for port in (gone, stays)]
    served = [await accepted.get() for _ in at]
    at[0].close()
    await cut_off({gone})
    assert {writer.get_extra_info("sockname")[1] for writer in served if writer.transport.is_closing()} == {gone}
    assert await ends[0][0].read() == b""
    at[1].close()
    await cut_off({stays})
    assert await ends[1][0].read() == b""
    for _, writer in ends:
        writer.close()
