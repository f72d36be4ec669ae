"""What the disk must hold, from one fault of a soak to the next: one run of stamped writes that never forgets."""

from __future__ import annotations

from collections.abc import Sequence

from lab.checker import Verdict, check


class Ledger:
    """Every block that was ever acknowledged is looked at after each fault, not only those of the last one."""

    def __init__(self) -> None:
        self.last_sequence = 0
        """Where the writer has to go on."""
        self._held: dict[int, int] = {}

    def judge(self, lines: Sequence[str], readback: Sequence[str]) -> Verdict:
        """Judge one part of the run by what its writer said and what every block holds now; see `lab.checker.check`.

        What a block held before counts as acknowledged, and is in the verdict's counts.
        """
        said = [line.split() for line in lines]
        times = [words[3] for words in said if words[0] == "issue"]
        # As if written at the first moment of this part: what was before it is no gap of this one.
        carried = [
            f"{word} {sequence} {lba} {times[0]}"
            for lba, sequence in (self._held.items() if times else ())
            for word in ("issue", "ack")
        ]
        verdict = check([*carried, *lines], readback)
        issued = [int(words[1]) for words in said if words[0] == "issue"]
        self.last_sequence = max([self.last_sequence, *issued])
        held = [words for words in map(str.split, readback) if words[0] == "holds"]
        self._held = {int(lba): int(sequence) for _, lba, sequence in held}
        return verdict

    @property
    def blocks(self) -> int:
        """How many blocks it has an eye on."""
        return len(self._held)
