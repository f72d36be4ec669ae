"""What came in on the links and was not believed: counted for the status, and told without filling the log."""

from __future__ import annotations

from dataclasses import dataclass

TOLD_EVERY_S = 60.0
LONGEST_REASON = 160


@dataclass
class _Refused:
    count: int = 0
    last: str | None = None
    told: int = 0
    told_s: float | None = None


class Refusals:
    """The counters of one monitor, one for each link."""

    def __init__(self) -> None:
        self._links: dict[str, _Refused] = {}

    def note(self, link: str, why: str, now_s: float) -> str | None:
        """Count one. Returns a sentence for the log, at most one a minute for each link."""
        entry = self._links.setdefault(link, _Refused())
        entry.count += 1
        # It may quote what a stranger wrote.
        entry.last = why if len(why) <= LONGEST_REASON else f"{why[:LONGEST_REASON]}..."
        if entry.told_s is not None and now_s - entry.told_s < TOLD_EVERY_S:
            return None
        more = entry.count - entry.told - 1
        entry.told, entry.told_s = entry.count, now_s
        others = f", and {more} before it" if more else ""
        return f"a datagram on the link {link} was refused{others}: {entry.last}"

    def of(self, link: str) -> tuple[int, str | None]:
        """How many were refused on a link, and why the newest was."""
        entry = self._links.get(link, _Refused())
        return entry.count, entry.last
