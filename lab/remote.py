"""The host's side of the agent: commands and requests to one node."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lab import frames, netns
from lab.errors import NodeOff

# How often a waiting caller looks whether the node still runs: a power cut sends no goodbye.
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True)
class Result:
    """A command that ended; a negative code is the signal that ended it."""

    returncode: int
    stdout: bytes
    stderr: bytes


class Remote:
    """Opens connections to the agent at `address`, as long as `is_running` says it can answer."""

    def __init__(self, node: str, namespace: str, address: str, is_running: Callable[[], bool]) -> None:
        """Connect to nothing yet."""
        self.node = node
        self.is_running = is_running
        self._namespace = namespace
        self._address = address

    def answers(self, timeout_s: float = 0.5) -> bool:
        """Whether the agent answers now."""
        try:
            self.request({"op": "ping"}, timeout_s=timeout_s)
        except (OSError, NodeOff):
            return False
        return True

    def request(self, request: dict[str, Any], *, content: bytes | None = None, timeout_s: float = 30.0) -> bytes:
        """One question, one answer. Raises NodeOff, TimeoutError, or the node's OSError."""
        deadline = time.monotonic() + timeout_s
        with self._open(request, timeout_s) as sock:
            if content is not None:
                frames.send(sock, frames.INPUT, content)
            _, payload = self.receive(sock, deadline)
            return payload

    def run(
        self,
        argv: list[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        env: dict[str, str] | None = None,
        cwd: str = "/",
    ) -> Result:
        """Run a command to its end. On a timeout the node kills it; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        output: dict[bytes, list[bytes]] = {frames.STDOUT: [], frames.STDERR: []}
        with self._open(_exec(argv, env, cwd), timeout_s) as sock:
            # A command that ends without reading its input closes the connection under us; its
            # output and exit code are still to be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if stdin:
                    frames.send(sock, frames.INPUT, stdin)
                frames.send(sock, frames.INPUT)
            while True:
                kind, payload = self.receive(sock, deadline)
                if kind == frames.EXIT:
                    parts = (b"".join(output[k]) for k in (frames.STDOUT, frames.STDERR))
                    return Result(int(payload), *parts)
                output[kind].append(payload)

    def popen(self, argv: list[str], *, env: dict[str, str] | None = None, cwd: str = "/") -> RemoteProcess:
        """Start a long-running command."""
        return RemoteProcess(self, self.start(argv, env=env, cwd=cwd))

    def start(
        self,
        argv: list[str],
        *,
        env: dict[str, str] | None = None,
        cwd: str = "/root",
        size: tuple[int, int] | None = None,
    ) -> socket.socket:
        """Start a command, on a terminal of `size` (rows, columns) if given; then speak frames."""
        return self._open({**_exec(argv, env, cwd), "size": size}, 10.0)

    def receive(self, sock: socket.socket, deadline: float | None) -> tuple[bytes, bytes]:
        """The next frame. Raises NodeOff, TimeoutError, or the fault the node reports."""
        sock.settimeout(_LOOK_EVERY_S)
        while True:
            try:
                kind, payload = frames.receive(sock)
            except TimeoutError:
                if not self.is_running():
                    raise NodeOff(f"node {self.node} went off while it was working") from None
                if deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError(f"node {self.node} gave no answer in time") from None
                continue
            except (EOFError, ConnectionError) as reason:
                raise NodeOff(f"node {self.node} broke the connection") from reason
            if kind == frames.FAULT:
                fault = json.loads(payload)
                raise OSError(fault["errno"] or 0, fault["message"])
            return kind, payload

    def _open(self, request: dict[str, Any], timeout_s: float) -> socket.socket:
        if not self.is_running():
            raise NodeOff(f"node {self.node} is off; boot it first")
        try:
            sock = netns.connect(self._namespace, self._address, frames.PORT, timeout_s)
        except TimeoutError:
            raise TimeoutError(f"node {self.node} did not answer within {timeout_s} s") from None
        frames.send(sock, frames.REQUEST, json.dumps(request).encode())
        return sock


class RemoteProcess:
    """A command that runs in a node; it is killed there when its connection is closed."""

    def __init__(self, remote: Remote, sock: socket.socket) -> None:
        """Read its streams from now on, so that it never waits for a reader."""
        self.stderr = b""
        self._remote = remote
        self._sock = sock
        self._returncode: int | None = None
        self._error: Exception | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._send_lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def lines(self) -> Iterator[str]:
        """Standard output line by line, without line ends, until the command or its node ends."""
        while (line := self._lines.get()) is not None:
            yield line
        self._lines.put(None)

    def write(self, data: bytes) -> None:
        """Send standard input; empty data closes it."""
        with self._send_lock:
            frames.send(self._sock, frames.INPUT, data)

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the command's process group; nothing if it has ended."""
        with self._send_lock, contextlib.suppress(OSError):
            frames.send(self._sock, frames.SIGNAL, str(int(number)).encode())

    def terminate(self) -> None:
        """Ask the command to end (SIGTERM)."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the command (SIGKILL)."""
        self.send_signal(signal.SIGKILL)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._reader.is_alive()

    def wait(self, timeout_s: float | None = None) -> int:
        """The return code; -9 if the node went off under it. Raises TimeoutError or OSError."""
        self._reader.join(timeout_s)
        if self._reader.is_alive():
            raise TimeoutError(f"the command on node {self._remote.node} still runs")
        if self._error:
            raise self._error
        return -signal.SIGKILL if self._returncode is None else self._returncode

    def _read(self) -> None:
        rest = b""
        try:
            while self._returncode is None:
                kind, payload = self._remote.receive(self._sock, None)
                if kind == frames.EXIT:
                    self._returncode = int(payload)
                elif kind == frames.STDERR:
                    self.stderr += payload
                else:
                    *whole, rest = (rest + payload).split(b"\n")
                    for line in whole:
                        self._lines.put(line.decode(errors="replace"))
        except NodeOff:
            pass
        except OSError as reason:
            self._error = reason
        finally:
            if rest:
                self._lines.put(rest.decode(errors="replace"))
            self._lines.put(None)
            self._sock.close()


def _exec(argv: list[str], env: dict[str, str] | None, cwd: str) -> dict[str, Any]:
    return {"op": "exec", "argv": argv, "env": env or {}, "cwd": cwd}
