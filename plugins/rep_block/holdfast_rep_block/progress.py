"""How far resyncs and verifications are, out of the text of /proc/drbd: `events2` of 8.4 does not tell it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

# 	[=>..................] sync'ed: 12.5% (896/1024)M      (drbd_proc.c; the unit is K or M)
_DONE = re.compile(r"(?:sync'ed|verified):\s*([\d.]+)%(?:\s*\((\d+)/\d+\)([KM]))?")
# 	finish: 0:00:21 speed: 33,280 (33,280) want: 41,000 K/sec
_SPEED = re.compile(r"speed:\s*([\d,]+)")
_HEAD = re.compile(r"\s*(\d+): cs:")
_UNITS = {"K": 1024, "M": 1024 * 1024}


@dataclass(frozen=True)
class Progress:
    """Of one volume. Unknown is None."""

    done_percent: float | None = None
    to_go_bytes: int | None = None
    rate_bytes_s: int | None = None


NOTHING = Progress()


def parse(proc_drbd: str) -> dict[int, Progress]:
    """Progress by minor; a volume that does nothing is not in it."""
    found: dict[int, Progress] = {}
    minor = None
    for line in proc_drbd.splitlines():
        if head := _HEAD.match(line):
            minor = int(head[1])
        if minor is None:
            continue
        if done := _DONE.search(line):
            to_go_bytes = None if done[2] is None else int(done[2]) * _UNITS[done[3]]
            found[minor] = Progress(float(done[1]), to_go_bytes)
        elif (speed := _SPEED.search(line)) and minor in found:
            before = found[minor]
            rate_bytes_s = int(speed[1].replace(",", "")) * 1024
            found[minor] = Progress(before.done_percent, before.to_go_bytes, rate_bytes_s)
    return found
