"""The unix socket between the daemon and the monitor: one JSON object a line, asked and answered."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError, Reason, RefusedError, UnavailableError
from holdfast.values import from_plain, to_plain

log = logging.getLogger(__name__)

LONGEST_LINE = 4 * 1024 * 1024
Command = Callable[[Mapping[str, Any]], Awaitable[Any]]


def socket_path(run_dir: Path) -> Path:
    """Where the monitor listens."""
    return run_dir / "monitor.sock"


async def ask(path: Path, command: str, *, timeout_s: float, **arguments: object) -> Any:
    """Ask the monitor. Raises UnavailableError when it does not answer, RefusedError with its reasons."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=LONGEST_LINE)
            try:
                writer.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError) as reason:
        remedy = "see whether holdfast-monitor runs, and its log"
        text = "the failover monitor of this node does not answer"
        raise UnavailableError(text, reasons=[Reason("monitor", text, remedy)]) from reason
    if not line:
        raise UnavailableError("the failover monitor ended while it was asked")
    answer = json.loads(line)
    if "refused" in answer:
        reasons = [from_plain(Reason, item) for item in answer["reasons"]]
        raise RefusedError(answer["refused"], reasons=reasons)
    return answer["answer"]


async def serve(path: Path, commands: Mapping[str, Command]) -> None:
    """Answer until cancelled. Only root is heard."""
    await asyncio.to_thread(path.unlink, missing_ok=True)
    server = await asyncio.start_unix_server(lambda r, w: _converse(r, w, commands), str(path), limit=LONGEST_LINE)
    await asyncio.to_thread(path.chmod, 0o600)
    async with server:
        await server.serve_forever()


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commands: Mapping[str, Command]
) -> None:
    try:
        if _user(writer) != 0:
            return
        line = await reader.readline()
        if line:
            writer.write(json.dumps(await _answer(json.loads(line), commands)).encode() + b"\n")
            await writer.drain()
    except (OSError, ValueError) as reason:
        log.debug("a conversation broke off: %s", reason)
    finally:
        writer.close()


def _user(writer: asyncio.StreamWriter) -> int:
    credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", credentials)[1])


async def _answer(asked: Mapping[str, Any], commands: Mapping[str, Command]) -> dict[str, Any]:
    command = commands.get(str(asked.get("command")))
    if command is None:
        return {"refused": f"the monitor knows no command {asked.get('command')!r}", "reasons": []}
    try:
        return {"answer": to_plain(await command(asked))}
    except HoldfastError as reason:
        return {"refused": reason.message, "reasons": to_plain(reason.reasons)}
    except Exception as reason:
        log.exception("the command %s failed", asked.get("command"))
        return {"refused": f"the monitor failed: {type(reason).__name__}", "reasons": []}
