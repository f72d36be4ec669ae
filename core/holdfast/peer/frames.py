"""Length-prefixed frames for pairing and for the witness, bounded before anything is parsed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

from holdfast.errors import InvalidError
from holdfast.peer.tls import HANDSHAKE_S

MAX_FRAME_BYTES = 8192
FRAME_S = 5.0
# The side that opens waits longer than the side that serves holds a handshake open: HANDSHAKE_S < OPEN_S.
OPEN_S = HANDSHAKE_S + 2.0
_SHUTDOWN_S = 1.0


class Channel:
    """One connection that carries frames of at most MAX_FRAME_BYTES, each within a deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: str, port: int, context: ssl.SSLContext) -> Channel:
        """Connect within OPEN_S. Raises OSError, TimeoutError."""
        async with asyncio.timeout(OPEN_S):
            reader, writer = await asyncio.open_connection(
                address, port, ssl=context, limit=MAX_FRAME_BYTES, ssl_shutdown_timeout=_SHUTDOWN_S
            )
        return cls(reader, writer)

    @classmethod
    async def accept(cls, connection: socket.socket, context: ssl.SSLContext) -> Channel:
        """Serve one accepted connection; the handshake must end within HANDSHAKE_S. Raises OSError."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_FRAME_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=_SHUTDOWN_S,
        )
        return cls(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    @property
    def peer_address(self) -> str:
        """The address at the other end."""
        return str(self._writer.get_extra_info("peername")[0])

    def peer_certificate(self) -> bytes:
        """The certificate that the other end showed, as DER. Raises InvalidError when it showed none."""
        tls: Any = self._writer.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True)
        if not isinstance(der, bytes):
            raise InvalidError("the other side showed no certificate")
        return der

    async def send(self, frame: bytes) -> None:
        """Send one frame. Raises OSError, TimeoutError."""
        if len(frame) > MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {len(frame)} bytes is too long")
        self._writer.write(len(frame).to_bytes(4, "big") + frame)
        async with asyncio.timeout(FRAME_S):
            await self._writer.drain()

    async def receive(self, *, timeout_s: float = FRAME_S) -> bytes:
        """Return the next frame.

        Raises EOFError, OSError, TimeoutError; InvalidError when it is longer than allowed.
        """
        async with asyncio.timeout(timeout_s):
            size_bytes = int.from_bytes(await self._reader.readexactly(4), "big")
            if size_bytes > MAX_FRAME_BYTES:
                raise InvalidError(f"a frame of {size_bytes} bytes was announced; {MAX_FRAME_BYTES} are allowed")
            return await self._reader.readexactly(size_bytes)

    async def close(self) -> None:
        """Send what is still buffered and end the connection, which is aborted after _SHUTDOWN_S."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """End the connection at once; what came in and was not received is lost."""
        self._writer.transport.abort()
