"""What the witness keeps of one pair: of each group and node, whether that node has released the right. Pure.

Nothing of it is kept on a disk. A register that starts empty grants nothing until both nodes have given their words,
which they do when both sides are in sync: so an old copy of it, which could grant the right a second time, cannot be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

MOST_GROUPS = 1024
"""More than a pair can have; a node that names others without end is not listened to."""


@dataclass(frozen=True)
class Word:
    """What one node said of one group. `version` grows with all that it says."""

    version: int = 0
    has_released: bool = False


class Register:
    """One pair's. Every call is carried out whole, in the order of the calls."""

    def __init__(self, nodes: tuple[str, str]) -> None:
        self._nodes = nodes
        self._words: dict[tuple[str, str], Word] = {}

    def word(self, node: str, group: str) -> Word:
        """What a node said last; that it has not released the right if it never spoke."""
        return self._words.get((node, group), Word())

    def is_open(self, node: str, group: str) -> bool:
        """Whether a claim of this node would be granted."""
        return self.word(self._partner_of(node), group).has_released

    def release(self, node: str, group: str, version: int) -> bool:
        """The partner may be granted the right, if `version` is still the node's: compare and swap.

        False if it is not: the node has claimed the right since it read that.
        """
        word = self.word(node, group)
        if word.version != version:
            return False
        return self._say(node, group, replace(word, version=version + 1, has_released=True))

    def claim(self, node: str, group: str) -> bool:
        """Grant the right, if the partner has released it; its own release is taken back in the same moment.

        Claimed again by who holds it, it is granted again, and counts as something said.
        """
        if not self.is_open(node, group):
            return False
        return self._say(node, group, Word(self.word(node, group).version + 1))

    def _say(self, node: str, group: str, word: Word) -> bool:
        if (node, group) not in self._words and len(self._words) >= 2 * MOST_GROUPS:
            return False
        self._words[node, group] = word
        return True

    def _partner_of(self, node: str) -> str:
        first, second = self._nodes
        return second if node == first else first
