"""Listening for an application's clients, and ending it without losing one that has just been accepted."""

from __future__ import annotations

import asyncio
import ssl

from aiohttp import web


async def listen(
    runner: web.AppRunner, address: str, port: int, tls: ssl.SSLContext, *, handshake_s: float
) -> asyncio.Server:
    """Serve a runner that is set up, until `stop_listening`. Raises OSError when the port can't be opened.

    Not by aiohttp's TCPSite: that would let a stranger hold a handshake open for a minute.
    """
    return await asyncio.get_running_loop().create_server(
        runner.server,  # type: ignore[arg-type]  # web.Server makes one protocol per connection
        address,
        port,
        ssl=tls,
        ssl_handshake_timeout=handshake_s,
    )


async def stop_listening(server: asyncio.Server) -> None:
    """Accept nothing more, and close the listening sockets; connections that are there stay. Repeating it is success.

    A connection is accepted one turn of the loop before it belongs to its server. A server that is closed in between
    takes it no more, and nobody closes it: its client would wait for an answer until it gives up.
    """
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    await asyncio.sleep(0)
    server.close()
