"""The kernel's fence requests: the program it runs, and the socket at which they are answered."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from holdfast.errors import BusyError, HoldfastError, Reason, RefusedError
from holdfast.hooks.replication import FenceAnswer, FenceArbiter
from holdfast.system.files import write_atomically
from holdfast.system.kernelfs import KernelFs

log = logging.getLogger(__name__)

USERMODE_HELPER = "/sys/module/drbd/parameters/usermode_helper"
# The module's parameter has 80 bytes, one of them for the end (drbd_main.c).
HELPER_PATH_LENGTH = 79
# sockaddr_un(7): 108 bytes, one of them for the end.
SOCKET_PATH_LENGTH = 107

# drbd_nl.c:conn_try_outdate_peer.
EXIT_CODES = {
    FenceAnswer.PEER_INCONSISTENT: 3,
    FenceAnswer.PEER_OUTDATED: 4,
    FenceAnswer.PEER_UNREACHABLE: 5,
    FenceAnswer.PEER_PRIMARY: 6,
    FenceAnswer.PEER_FENCED: 7,
}


def helper_path(state_dir: Path) -> Path:
    """Where the program lies: not in the run directory, which often forbids execution."""
    return state_dir / "fence-peer"


def socket_path(run_dir: Path) -> Path:
    """Where requests are answered."""
    return run_dir / "fence.sock"


def unmet(state_dir: Path, run_dir: Path) -> tuple[Reason, ...]:
    """Why the program cannot be installed there; empty if it can."""
    found = []
    for path, limit in ((helper_path(state_dir), HELPER_PATH_LENGTH), (socket_path(run_dir), SOCKET_PATH_LENGTH)):
        if len(os.fsencode(path)) > limit:
            text = f"the kernel takes at most {limit} bytes for the path {path}"
            found.append(Reason("path-too-long", text, "choose shorter state and run directories"))
    return tuple(found)


def install(state_dir: Path, run_dir: Path, drbdsetup: str, kernel: KernelFs) -> None:
    """Put the program in place and name it to the kernel; both only if it is not so yet.

    Raises RefusedError if it could not be run from there.
    """
    if reasons := unmet(state_dir, run_dir):
        raise RefusedError("the fence helper cannot be installed", reasons=reasons)
    path = helper_path(state_dir)
    # The real interpreter, not the environment's link to it: it starts faster, and outlives an upgrade of ours.
    program = render(socket_path(run_dir), drbdsetup, os.path.realpath(sys.executable))
    if not path.exists() or path.read_bytes() != program or not os.access(path, os.X_OK):
        write_atomically(path, program, mode=0o700)
        log.info("installed the fence helper %s", path)
    if not os.access(path, os.X_OK):
        text = f"{path} lies on a file system that is mounted noexec"
        reason = Reason("noexec", text, "choose a state directory where programs may run")
        raise RefusedError(text, reasons=[reason])
    if kernel.read(USERMODE_HELPER) != str(path):
        kernel.write(USERMODE_HELPER, str(path))
        log.info("told DRBD to ask %s", path)


def render(socket_file: Path, drbdsetup: str, interpreter: str) -> bytes:
    """The text of the program."""
    text = Path(__file__).with_name("fence_helper.py").read_text()
    text = text.replace('"@SOCKET@"', repr(str(socket_file))).replace('"@DRBDSETUP@"', repr(drbdsetup))
    # -I: nothing of the environment; -S: no site directories, which would double its start-up time.
    return f"#!{interpreter} -IS\n{text}".encode()


class FenceServer:
    """Answers the requests of one node. `name_of` turns `minor-0` into a mirror's name."""

    def __init__(self, run_dir: Path, name_of: Callable[[str], Awaitable[str]]) -> None:
        self._path = socket_path(run_dir)
        self._lock_path = run_dir / "fence.lock"
        self._name_of = name_of

    async def serve(self, arbiter: FenceArbiter) -> None:
        """Answer until cancelled. Raises BusyError if another process does so."""
        with self._only_one():
            with suppress(FileNotFoundError):
                self._path.unlink()
            async with asyncio.TaskGroup() as group:

                def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                    group.create_task(self._handle(arbiter, reader, writer))

                server = await asyncio.start_unix_server(accept, self._path)
                # Its directory is the plugin's own (0700), so nobody comes in before this.
                self._path.chmod(0o600)
                async with server:
                    await server.serve_forever()

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as reason:
                raise BusyError("another process answers the fence requests of this node") from reason
            yield
        finally:
            os.close(descriptor)

    async def _handle(self, arbiter: FenceArbiter, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if _peer_uid(writer) != 0:
                log.warning("refused a fence request of a user other than root")
                return
            event, _, subject = (await reader.readline()).decode().strip().partition(" ")
            if event == "fence-peer":
                await self._decide(arbiter, subject, reader, writer)
            elif event:
                mirror = await self._name_of(subject)
                log.info("mirror %s: the kernel says %s", mirror, event)
                await arbiter.mirror_event(mirror, event)
        except (HoldfastError, OSError, UnicodeDecodeError) as reason:
            # The helper sees the line break and asks again; until then the mirror stays as it is.
            log.error("a fence request could not be answered: %s", reason)
        finally:
            writer.close()

    async def _decide(
        self, arbiter: FenceArbiter, mirror: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        log.info("mirror %s: the kernel asks whether it may go on without its peer", mirror)
        asked = asyncio.ensure_future(arbiter.fence_peer(mirror))
        # The helper says nothing more: what can be read is its end.
        gone = asyncio.ensure_future(reader.read())
        try:
            await asyncio.wait([asked, gone], return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                log.info("mirror %s: the kernel needs no answer any more", mirror)
                return
            verdict = asked.result()
        finally:
            for task in (asked, gone):
                task.cancel()
            await asyncio.gather(asked, gone, return_exceptions=True)
        writer.write(b"%d\n" % EXIT_CODES[verdict])
        await writer.drain()
        log.info("mirror %s: the kernel was told %s", mirror, verdict.value)


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer: socket.socket = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)
