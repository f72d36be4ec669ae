"""A Python process in a node that carries out orders: one for each boot, as to start Python there takes a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab import Node
from lab.layout import CHECKOUT

PYTHON = str(CHECKOUT / ".venv/bin/python")
FEW_PLUGINS = [word for name in ("aiohttp", "hypothesispytest") for word in ("-p", f"no:{name}")]
"""For pytest in a node: without those that no test there needs it starts in half the time."""


def environment(*packages: str) -> dict[str, str]:
    """What Python is told in a node; `packages` are the directories of plugins that are imported from."""
    path = ":".join(str(CHECKOUT / directory) for directory in (".", "core", *packages))
    return {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


class Worker:
    """Runs a module that reads orders, a line of JSON each, and answers each with as many lines as were agreed."""

    def __init__(self, node: Node, module: str, *packages: str) -> None:
        """Start it. `packages` as for `environment`."""
        argv = [PYTHON, "-s", "-m", module]
        self._process = node.popen(argv, env=environment(*packages), cwd=str(CHECKOUT))
        self._lines = self._process.lines()
        self._node = node
        self._machine = node.machine

    @property
    def is_running(self) -> bool:
        # Of a machine that lost its power nothing comes, not even the end of a connection.
        return self._node.machine == self._machine and self._process.is_running

    def ask(self, order: object, answers: int = 1) -> list[dict[str, Any]]:
        """Give an order; the answers in their order."""
        self._process.write(json.dumps(order).encode() + b"\n")
        # It need not end for that: one with a thread that the kernel does not let go of cannot.
        told = [json.loads(line) for _, line in zip(range(answers), self._lines, strict=False)]
        assert len(told) == answers, self._process.stderr.decode()
        return told


_workers: dict[tuple[Path, str], Worker] = {}


def worker(node: Node, module: str, *packages: str) -> Worker:
    """The one that runs `module` in this boot of the node."""
    key = node.host_dir, module
    found = _workers.get(key)
    if found is None or not found.is_running:
        found = _workers[key] = Worker(node, module, *packages)
    return found
