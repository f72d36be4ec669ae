"""One command in a node, its streams carried over a connection to the host."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import selectors
import signal
import socket
import struct
import subprocess
import termios
from abc import ABC, abstractmethod
from typing import Any

from lab import frames

_CHUNK = 1 << 16


def execute(conn: socket.socket, request: dict[str, Any]) -> None:
    """Run `argv` with `env` added, in `cwd`, on a terminal of `size` if one is given.

    The command leads a process group of its own, which is killed when the connection ends before
    the command does. Output that a daemon left behind writes later is not waited for.
    """
    if request.get("size"):
        _Terminal(conn, request).carry()
    else:
        _Pipes(conn, request).carry()


class _Carrier(ABC):
    """Moves bytes between a process and the connection until the process ends."""

    process: subprocess.Popen[bytes]

    def __init__(self, conn: socket.socket, stdin: int, outputs: dict[int, bytes]) -> None:
        self._conn = conn
        self._stdin = stdin
        self._outputs = outputs
        self._pending = bytearray()
        self._input_ended = False
        self._selector = selectors.DefaultSelector()
        for handle in {stdin, *outputs}:
            os.set_blocking(handle, False)

    def carry(self) -> None:
        pidfd = os.pidfd_open(self.process.pid)
        try:
            for handle in (pidfd, self._conn.fileno(), *self._outputs):
                self._selector.register(handle, selectors.EVENT_READ)
            ended = False
            while not ended:
                for key, _ in self._selector.select():
                    if key.fd == pidfd:
                        ended = True
                    elif key.fd == self._conn.fileno():
                        self._take_frame()
                    elif key.fd in self._outputs:
                        self._forward(key.fd)
                self._feed()
            for handle in list(self._outputs):
                while self._forward(handle):
                    pass
            frames.send(self._conn, frames.EXIT, str(self.process.wait()).encode())
        except (EOFError, ConnectionError):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        finally:
            os.close(pidfd)
            self._selector.close()
            self.close()

    @abstractmethod
    def close(self) -> None:
        """Close what was opened for the process."""

    @abstractmethod
    def end_input(self) -> None:
        """Let the process see the end of its input."""

    def _take_frame(self) -> None:
        kind, payload = frames.receive(self._conn)
        if kind == frames.INPUT and payload:
            self._pending += payload
        elif kind == frames.INPUT:
            self._input_ended = True
        elif kind == frames.SIGNAL:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, int(payload))

    def _forward(self, handle: int) -> bool:
        """Send on what is there; False if nothing is, now or ever."""
        try:
            data = os.read(handle, _CHUNK)
        except BlockingIOError:
            return False
        except OSError as reason:
            # A terminal whose last user left says so (pty(7)).
            if reason.errno != errno.EIO:
                raise
            data = b""
        if data:
            frames.send(self._conn, self._outputs[handle], data)
            return True
        del self._outputs[handle]
        with contextlib.suppress(KeyError):
            self._selector.unregister(handle)
        return False

    def _feed(self) -> None:
        """Hand pending input to the process, and look again when it can take more."""
        try:
            while self._pending:
                del self._pending[: os.write(self._stdin, self._pending[:_CHUNK])]
        except BlockingIOError:
            pass
        except OSError:
            self._pending.clear()
            self._input_ended = True
        # The write end is watched only while something waits for it: it is nearly always ready.
        watched = self._stdin in self._selector.get_map()
        if self._stdin not in self._outputs:
            if self._pending and not watched:
                self._selector.register(self._stdin, selectors.EVENT_WRITE)
            elif not self._pending and watched:
                self._selector.unregister(self._stdin)
        if self._input_ended and not self._pending:
            self.end_input()


class _Pipes(_Carrier):
    """A command with three pipes."""

    def __init__(self, conn: socket.socket, request: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            request["argv"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **request["env"]},
            cwd=request["cwd"],
            start_new_session=True,
            bufsize=0,
        )
        stdin, stdout, stderr = self.process.stdin, self.process.stdout, self.process.stderr
        assert stdin
        assert stdout
        assert stderr
        self._files = (stdin, stdout, stderr)
        outputs = {stdout.fileno(): frames.STDOUT, stderr.fileno(): frames.STDERR}
        super().__init__(conn, stdin.fileno(), outputs)

    def end_input(self) -> None:
        self._files[0].close()
        self._input_ended = False

    def close(self) -> None:
        for file in self._files:
            file.close()


class _Terminal(_Carrier):
    """A command on a terminal of its own."""

    def __init__(self, conn: socket.socket, request: dict[str, Any]) -> None:
        self._master, slave = pty.openpty()
        rows, columns = request["size"]
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        try:
            self.process = subprocess.Popen(
                ["setsid", "--ctty", *request["argv"]],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                env={**os.environ, **request["env"]},
                cwd=request["cwd"],
            )
        finally:
            os.close(slave)
        super().__init__(conn, self._master, {self._master: frames.STDOUT})

    def end_input(self) -> None:
        self._input_ended = False

    def close(self) -> None:
        os.close(self._master)
