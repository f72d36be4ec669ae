"""TCP ports for what a test starts."""

from __future__ import annotations

import contextlib
import random
import socket

# Below the ephemeral ports: one of those could become some client's before who asked for it binds it.
FIRST_PORT, LAST_PORT = 20000, 32000

_given: set[int] = set()  # who was given one may not have bound it yet
_random = random.SystemRandom()  # the common one is seeded alike before each test, in each of several runs


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port of this machine's `address` that nothing holds now, and that this process was never given before."""
    while True:
        port = _random.randrange(FIRST_PORT, LAST_PORT)
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.create_server((address, port)):
            _given.add(port)
            return port
