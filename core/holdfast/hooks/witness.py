"""A witness as a failover plugin asks it; core talks to it, and the plugin decides what is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class WitnessFacts:
    """What the witness said of one group, and what this node holds by it."""

    answers: bool = False
    """It answered a moment ago; the two next are by that answer."""
    has_released: bool = False
    """The partner may be granted the right to go on without this node."""
    is_open: bool = False
    """This node may be granted it."""
    holds: bool = False
    """It was granted to this node, which has not given it back since. True whatever became of the witness."""


class Witness(ABC):
    """A third host that grants the right to go on without the partner, of each group to one of the nodes at most.

    No call but `run` waits. What the witness answers shows in `facts`, and wakes the monitor.
    """

    @abstractmethod
    async def run(self) -> None:
        """Talk to it until cancelled, whether it answers or not."""

    @property
    @abstractmethod
    def answers(self) -> bool:
        """Whether it answered a moment ago."""

    @abstractmethod
    def facts(self, group: str) -> WitnessFacts:
        """What is known now."""

    @abstractmethod
    def claim(self, group: str) -> None:
        """Ask for the right. To be repeated while it is wanted: what was not repeated for a while is not asked."""

    @abstractmethod
    def release(self, group: str) -> None:
        """Hold the right no more from this moment on, whatever was asked before, and tell the witness so."""
