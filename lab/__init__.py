"""The virtual two-node bed: real kernels on one machine, in seconds.

By hand: `python -m lab up | down | status | run | cut | boot | link | freeze | thaw`.
From code: `with Lab.start() as lab: lab.node("a").run(["lvs"])`.

Names are loaded on first use: the programs that run inside a node (the agent, the writer) import
this package too, and must not pay for the host's side of it at every boot.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.bed import Lab as Lab
    from lab.errors import CommandFailed as CommandFailed
    from lab.errors import LabError as LabError
    from lab.errors import NodeOff as NodeOff
    from lab.node import Node as Node
    from lab.remote import RemoteProcess as RemoteProcess
    from lab.remote import Result as Result

_HOMES = {
    "CommandFailed": "lab.errors",
    "Lab": "lab.bed",
    "LabError": "lab.errors",
    "Node": "lab.node",
    "NodeOff": "lab.errors",
    "RemoteProcess": "lab.remote",
    "Result": "lab.remote",
}
__all__ = ["CommandFailed", "Lab", "LabError", "Node", "NodeOff", "RemoteProcess", "Result"]


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(import_module(_HOMES[name]), name)
