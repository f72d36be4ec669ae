"""What can go wrong in the lab, by what the caller can do about it."""

from __future__ import annotations


class LabError(Exception):
    """A sentence for the person at the keyboard: what is missing or wrong, and what to do."""


class NodeOff(LabError):
    """The node is not running, or went away while it was being asked."""


class CommandFailed(LabError):
    """A command in a node ended with a code other than 0."""

    def __init__(self, node: str, argv: list[str], returncode: int, stderr: bytes) -> None:
        """Keep the parts; the message carries the tail of the standard error."""
        tail = stderr.decode(errors="replace").strip()[-2000:]
        super().__init__(f"{' '.join(argv)} on node {node} ended with code {returncode}: {tail}")
        self.node = node
        self.argv = argv
        self.returncode = returncode
        self.stderr = stderr
