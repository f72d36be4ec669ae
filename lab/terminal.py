"""A node's command on the terminal of the person at the keyboard."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import sys
import termios
import threading
import tty
from collections.abc import Iterator

from lab import frames
from lab.errors import LabError
from lab.node import Node

_NOT_FOUND = 127
_SIGNALLED = 128


def pass_through(node: Node, argv: list[str]) -> int:
    """Run a command with this process's own three streams; return its exit code as a shell would.

    Interrupted here, it is killed there.
    """
    if not argv:
        raise LabError("which command? `python -m lab run NODE CMD...`")
    with node.remote.start(argv) as sock:
        threading.Thread(target=_send_input, args=(sock,), daemon=True).start()
        outputs = {frames.STDOUT: sys.stdout.buffer, frames.STDERR: sys.stderr.buffer}
        while True:
            try:
                kind, payload = node.remote.receive(sock, None)
            except FileNotFoundError as reason:
                print(f"lab: {reason.strerror}", file=sys.stderr)
                return _NOT_FOUND
            if kind == frames.EXIT:
                code = int(payload)
                return code if code >= 0 else _SIGNALLED - code
            outputs[kind].write(payload)
            outputs[kind].flush()


def interactive(node: Node, argv: list[str]) -> int:
    """Run a command on a terminal in the node, this terminal being its screen."""
    if not sys.stdin.isatty():
        raise LabError("`shell` needs a terminal; `run` does not")
    columns, rows = shutil.get_terminal_size()
    term = os.environ.get("TERM", "vt100")
    with node.remote.start(argv, size=(rows, columns), env={"TERM": term}) as sock, _raw():
        selector = selectors.DefaultSelector()
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        selector.register(sock, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == sys.stdin.fileno():
                    frames.send(sock, frames.INPUT, os.read(key.fd, 4096))
                    continue
                kind, payload = node.remote.receive(sock, None)
                if kind == frames.EXIT:
                    return int(payload)
                os.write(sys.stdout.fileno(), payload)


def _send_input(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(sys.stdin.fileno(), 1 << 16):
            frames.send(sock, frames.INPUT, data)
        frames.send(sock, frames.INPUT)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Hand every key to the node, Ctrl-C included, for as long as the context lasts."""
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    tty.setraw(handle)
    try:
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
