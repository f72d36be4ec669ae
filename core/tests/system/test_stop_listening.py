"""What becomes of a connection that was accepted in the very moment in which its server ends to listen."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings

import pytest

from holdfast.system.listening import stop_listening


async def accepting(heard: asyncio.Queue[bytes]) -> tuple[asyncio.Server, socket.socket]:
    """A server in the turn after it has accepted a client, which does not belong to it yet; and that client."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait(await reader.read())
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    client = socket.create_connection(server.sockets[0].getsockname())
    client.sendall(b"hello")
    client.shutdown(socket.SHUT_WR)
    for _ in range(2):
        await asyncio.sleep(0)
    return server, client


async def test_it_is_served_to_its_end_and_no_further_one_is() -> None:
    heard = asyncio.Queue[bytes]()
    server, client = await accepting(heard)
    name = server.sockets[0].getsockname()
    with client:
        await stop_listening(server)
        async with asyncio.timeout(10):
            assert await heard.get() == b"hello"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(name)
    await stop_listening(server)


async def test_a_server_that_is_only_closed_loses_it() -> None:
    heard = asyncio.Queue[bytes]()
    server, client = await accepting(heard)
    with warnings.catch_warnings(record=True) as told, client:
        warnings.simplefilter("always")
        server.close()
        for _ in range(10):
            await asyncio.sleep(0)
        gc.collect()
    assert heard.empty()
    assert any("unclosed transport" in str(each.message) for each in told)
