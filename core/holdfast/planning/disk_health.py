"""What a disk tells of itself, read from what smartctl printed (smartctl(8), `--json`), and judged. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from holdfast.errors import Reason

WORN_PERCENT = 90
"""Of what the maker says it may be written; a disk that is used beyond that may go on for long, or not."""

# smartctl(8), EXIT STATUS.
_OPEN_FAILED, _FAILING_BIT = 1, 3
_ASLEEP_STATUS = 3
"""What it ends with when the disk sleeps, by our asking (`-n standby,3`)."""

# NVM Express Base Specification, SMART / Health Information log, Critical Warning.
_NVME_WARNINGS = (
    (0, "its spare room is below its threshold"),
    (2, "it is no longer reliable, by its own word"),
    (3, "it has become read-only"),
    (4, "the memory that protects what it has not yet written has failed"),
)
_NVME_TEMPERATURE_BIT = 1


class DiskVerdict(StrEnum):
    """What is to be thought of a disk."""

    GOOD = "good"
    WARNING = "warning"
    """A person should look, and replace it in time."""
    FAILING = "failing"
    """It says that it fails, or will soon: replace it now."""
    UNKNOWN = "unknown"
    """It tells nothing; `why` says why."""


@dataclass(frozen=True)
class DiskHealth:
    """What one disk told. None is what it does not tell."""

    verdict: DiskVerdict
    why: str | None = None
    """Why there is no verdict."""
    is_asleep: bool = False
    """It sleeps, and was not woken for this."""
    serial: str | None = None
    temperature_celsius: int | None = None
    hours_in_use: int | None = None
    reallocated: int | None = None
    """Places that it replaced by spare ones."""
    pending: int | None = None
    """Places that it could not read, and that it replaces when they are written."""
    media_errors: int | None = None
    """What could not be read, in all its life."""
    wear_percent: int | None = None
    """Of what it may be written by its maker's word; it may be above 100."""
    reasons: tuple[Reason, ...] = ()
    """For the verdict, where it is not good."""


def unknown(why: str) -> DiskHealth:
    """That of a disk that nothing is known of."""
    return DiskHealth(DiskVerdict.UNKNOWN, why)


def read(text: str) -> DiskHealth:
    """Read and judge what `smartctl --json` printed. Never raises: what cannot be read is unknown, and says so."""
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        return unknown("what smartctl printed cannot be read")
    status = _number(told, "smartctl", "exit_status") or 0
    messages = tuple(_messages(told))
    if status == _ASLEEP_STATUS:
        return DiskHealth(DiskVerdict.UNKNOWN, "it sleeps, and is not woken for this", is_asleep=True)
    passed = _part(told, "smart_status").get("passed")
    if status & 1 << _FAILING_BIT:
        passed = False
    nvme = _part(told, "nvme_smart_health_information_log")
    if not isinstance(passed, bool) and not nvme:
        said = f": {'; '.join(messages)}" if messages else ""
        if status & 1 << _OPEN_FAILED:
            return unknown(f"it cannot be asked{said}")
        return unknown(f"it tells nothing of its health{said}")
    health = _figures(told, nvme)
    reasons = (*_failing(told, nvme, passed=passed is not False), *_warnings(health, nvme))
    verdict = DiskVerdict.GOOD
    if reasons:
        is_failing = any(reason.code == "disk-failing" for reason in reasons)
        verdict = DiskVerdict.FAILING if is_failing else DiskVerdict.WARNING
    return DiskHealth(verdict, reasons=tuple(reasons), **health)


def _figures(told: dict[str, Any], nvme: dict[str, Any]) -> dict[str, Any]:
    """The numbers, from wherever this kind of disk has them."""
    counters = _part(told, "scsi_error_counter_log")
    uncorrected = [_number(counters, kind, "total_uncorrected_errors") for kind in ("read", "write", "verify")]
    errors = [count for count in uncorrected if count is not None]
    serial = told.get("serial_number")
    return {
        "serial": serial if isinstance(serial, str) else None,
        # 0 is said by disks that do not know.
        "temperature_celsius": _first(_number(told, "temperature", "current"), _number(nvme, "temperature")) or None,
        "hours_in_use": _first(_number(told, "power_on_time", "hours"), _number(nvme, "power_on_hours")),
        "reallocated": _first(_attribute(told, 5), _number(told, "scsi_grown_defect_list")),
        "pending": _attribute(told, 197),
        "media_errors": _first(
            _number(nvme, "media_errors"), _attribute(told, 187), _attribute(told, 198), sum(errors) if errors else None
        ),
        "wear_percent": _first(
            _number(nvme, "percentage_used"),
            _number(told, "scsi_percentage_used_endurance_indicator"),
            # From smartctl 7.4 on; before, where the ATA device statistics have it.
            _number(told, "endurance_used", "current_percent"),
            _statistic(told, "Percentage Used Endurance Indicator"),
        ),
    }


def _failing(told: dict[str, Any], nvme: dict[str, Any], *, passed: bool) -> Iterator[Reason]:
    remedy = "take it out of its pool while it still works, and replace it"
    if not passed:
        yield Reason("disk-failing", "by its own word it fails or will fail soon", remedy)
    warning = _number(nvme, "critical_warning") or 0
    for bit, text in _NVME_WARNINGS:
        if warning & 1 << bit:
            yield Reason("disk-failing", text, remedy)
    for row in _attributes(told):
        is_prefailure = isinstance(flags := row.get("flags"), dict) and flags.get("prefailure") is True
        if row.get("when_failed") == "now" and is_prefailure:
            yield Reason("disk-failing", f"its attribute {row.get('name')} is at its threshold", remedy)


def _warnings(health: dict[str, Any], nvme: dict[str, Any]) -> Iterator[Reason]:
    if (_number(nvme, "critical_warning") or 0) & 1 << _NVME_TEMPERATURE_BIT:
        text = f"it is too warm or too cold: {health['temperature_celsius']} degrees Celsius"
        yield Reason("disk-temperature", text, "look after its cooling")
    if pending := health["pending"]:
        text = f"{pending} places of it could not be read and wait to be replaced"
        yield Reason("disk-pending", text, "have a copy of what it holds, and replace it if they become more")
    wear = health["wear_percent"]
    if wear is not None and wear >= WORN_PERCENT:
        text = f"it has been written to {wear} % of what its maker allows"
        yield Reason("disk-worn", text, "plan to replace it")


@dataclass(frozen=True)
class DiskCounts:
    """What only ever grows, as it was when it was last told."""

    reallocated: int | None = None
    pending: int | None = None
    media_errors: int | None = None


def counts(health: DiskHealth) -> DiskCounts:
    """Those of a disk."""
    return DiskCounts(health.reallocated, health.pending, health.media_errors)


def growth(before: DiskCounts, now: DiskCounts) -> tuple[str, ...]:
    """In what a disk got worse since it was last asked, in words. What it tells for the first time is no change."""
    named = (
        ("reallocated", "places that were replaced"),
        ("pending", "places that cannot be read"),
        ("media_errors", "errors of reading"),
    )
    found = []
    for field, what in named:
        was, is_now = getattr(before, field), getattr(now, field)
        if was is not None and is_now is not None and is_now > was:
            found.append(f"{what}: {is_now} where there were {was}")
    return tuple(found)


# --- reading what others wrote ---


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _number(value: dict[str, Any], *path: str) -> int | None:
    for name in path[:-1]:
        value = _part(value, name)
    found = value.get(path[-1])
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _first(*found: int | None) -> int | None:
    return next((number for number in found if number is not None), None)


def _rows(value: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    rows = value.get(name)
    if isinstance(rows, list):
        yield from (row for row in rows if isinstance(row, dict))


def _messages(told: dict[str, Any]) -> Iterator[str]:
    for row in _rows(_part(told, "smartctl"), "messages"):
        if isinstance(text := row.get("string"), str):
            yield text.strip().rstrip(".")[:200]


def _attributes(told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return _rows(_part(told, "ata_smart_attributes"), "table")


def _attribute(told: dict[str, Any], number: int) -> int | None:
    return next((_number(row, "raw", "value") for row in _attributes(told) if row.get("id") == number), None)


def _statistic(told: dict[str, Any], name: str) -> int | None:
    for page in _rows(_part(told, "ata_device_statistics"), "pages"):
        for row in _rows(page, "table"):
            if row.get("name") == name and _part(row, "flags").get("valid") is not False:
                return _number(row, "value")
    return None
