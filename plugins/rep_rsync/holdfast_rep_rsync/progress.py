"""How far a copy is, as its caller is told it."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.hooks.replication import CopyProgress
from holdfast.system.clock import Clock
from holdfast_rep_rsync import reports

_INTERVAL_S = 0.2


class Progress:
    """Passes rsync's progress on, which comes once a file: at most some times a second, and the last one always."""

    def __init__(self, tell: Callable[[CopyProgress], None], clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._told_s = float("-inf")
        self._untold: CopyProgress | None = None

    def follow(self, line: str) -> None:
        """Read a line of rsync's output."""
        if (record := reports.read_progress(line)) is None:
            return
        self._untold = record
        if self._clock.boot_s() - self._told_s >= _INTERVAL_S:
            self.finish()

    def finish(self) -> None:
        """Tell what was held back."""
        if self._untold is not None:
            self._tell(self._untold)
            self._told_s, self._untold = self._clock.boot_s(), None
