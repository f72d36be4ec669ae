"""Whether the link of a mirror holds its disks back: every write crosses it before it is acknowledged. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.errors import Reason

ENOUGH = 0.8
"""Of the disks' rate. Short measurements of two equal things differ by less than the rest."""
REMEDY = "give replication a faster network of its own, or accept that writes are as fast as the link"


@dataclass(frozen=True)
class LinkMeasurement:
    """A mirror's link and disks, measured one after the other. A rate is None where it could not be measured."""

    measured_at: str
    """RFC 3339, UTC."""
    measured_from: str
    """The node that sent."""
    link_bytes_s: int | None
    """What one stream got between the mirror's addresses, beside whatever else went over them."""
    disk_bytes_s: int | None
    """What the slower of both nodes' disks got, read from its beginning."""
    warning: str | None
    unknown: str | None
    """Why a rate is not known."""


def slow_link(link_bytes_s: int | None, disk_bytes_s: int | None) -> str | None:
    """The sentence that warns of a link slower than the disks; None where it is not, or is not known to be."""
    if link_bytes_s is None or disk_bytes_s is None or link_bytes_s >= disk_bytes_s * ENOUGH:
        return None
    return (
        f"the link carries {_mib_s(link_bytes_s)} and the disks {_mib_s(disk_bytes_s)}: "
        "no write, and no first sync, will be faster than the link"
    )


def slow_link_reason(measured: LinkMeasurement | None) -> tuple[Reason, ...]:
    """The warning with its remedy, if there is one."""
    if measured is None or measured.warning is None:
        return ()
    return (Reason("slow-link", measured.warning, REMEDY),)


def slowest(rates_bytes_s: tuple[int | None, ...]) -> int | None:
    """The least of the known rates."""
    return min((rate for rate in rates_bytes_s if rate is not None), default=None)


def _mib_s(bytes_s: int) -> str:
    return f"{bytes_s / 2**20:.{1 if bytes_s < 100 * 2**20 else 0}f} MiB/s"
