"""What a run says: each step with its duration as it goes, and a table of what was measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

MIB = 1 << 20


class Report:
    """Prints as it goes and remembers what was measured."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()
        self._measured: list[tuple[str, str]] = []

    def chapter(self, title: str) -> None:
        """Begin a part of the job."""
        print(f"\n{title}", flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print a step when it is done, with the time it took; a step that fails is named too."""
        started_s = time.monotonic()
        try:
            yield
        except BaseException:
            print(f"  {time.monotonic() - started_s:6.1f} s  FAILED: {title}", flush=True)
            raise
        print(f"  {time.monotonic() - started_s:6.1f} s  {title}", flush=True)

    def say(self, sentence: str) -> None:
        """Print what belongs to the step before."""
        print(f"            {sentence}", flush=True)

    def measured(self, what: str, value: str) -> None:
        """Remember a line of the table."""
        self._measured.append((what, value))
        self.say(f"{what}: {value}")

    def leave_out(self, waited_s: float) -> None:
        """Do not count a wait that was not the job's own."""
        self._started_s += waited_s

    def table(self) -> None:
        """Print all that was measured."""
        rows = [*self._measured, ("the whole job", f"{time.monotonic() - self._started_s:.1f} s")]
        width = max(len(what) for what, _ in rows)
        print("\nMeasured")
        for what, value in rows:
            print(f"  {what:<{width}}  {value}", flush=True)


def in_bytes(count: int) -> str:
    """A number of bytes, and what it comes to."""
    return f"{count:,} bytes" if count < MIB else f"{count:,} bytes ({count / MIB:.1f} MiB)"
