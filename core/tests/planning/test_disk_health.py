"""What smartctl 7.3 prints of disks of ATA, NVMe and SCSI, and of those with nothing to tell, and what it means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.planning.disk_health import DiskCounts, DiskHealth, DiskVerdict, counts, growth, read


def printed(*, status: int = 0, messages: tuple[str, ...] = (), **more: Any) -> str:
    """What every answer has in common, and `more`."""
    smartctl: dict[str, Any] = {
        "version": [7, 3],
        "svn_revision": "5338",
        "platform_info": "x86_64-linux-6.1.0-40-amd64",
        "build_info": "(local build)",
        "argv": ["smartctl", "--json=c", "/dev/sdb"],
        "exit_status": status,
    }
    if messages:
        smartctl["messages"] = [{"string": text, "severity": "error"} for text in messages]
    return json.dumps({"json_format_version": [1, 0], "smartctl": smartctl, **more})


def attribute(number: int, name: str, raw: int, *, when_failed: str = "", prefailure: bool = False) -> dict[str, Any]:
    flags = {"value": 51, "string": "PO--CK ", "prefailure": prefailure, "updated_online": True}
    value = {"value": 100, "worst": 100, "thresh": 10, "when_failed": when_failed}
    return {"id": number, "name": name, **value, "flags": flags, "raw": {"value": raw, "string": str(raw)}}


def ata(*rows: dict[str, Any], passed: bool = True, status: int = 0, **more: Any) -> str:
    table = [attribute(9, "Power_On_Hours", 0x1000BEEF), attribute(194, "Temperature_Celsius", 0x2400120024), *rows]
    return printed(
        status=status,
        device={"name": "/dev/sdb", "info_name": "/dev/sdb [SAT]", "type": "sat", "protocol": "ATA"},
        model_name="EXAMPLE HDD",
        serial_number="ATA1",
        smart_support={"available": True, "enabled": True},
        smart_status={"passed": passed},
        ata_smart_attributes={"revision": 16, "table": table},
        power_on_time={"hours": 36055},
        temperature={"current": 36},
        **more,
    )


def nvme(**log: Any) -> str:
    values = {
        **{"critical_warning": 0, "temperature": 41, "available_spare": 100, "available_spare_threshold": 10},
        **{"percentage_used": 7, "data_units_written": 25771349, "power_on_hours": 3150, "media_errors": 0, **log},
    }
    return printed(
        device={"name": "/dev/nvme0n1", "info_name": "/dev/nvme0n1", "type": "nvme", "protocol": "NVMe"},
        serial_number="NVME1",
        smart_status={"passed": not values["critical_warning"], "nvme": {"value": values["critical_warning"]}},
        nvme_smart_health_information_log=values,
        temperature={"current": values["temperature"]},
        power_on_time={"hours": values["power_on_hours"]},
    )


def scsi(*, uncorrected: tuple[int, int] = (0, 0), passed: bool = True, **more: Any) -> str:
    kinds = zip(("read", "write"), uncorrected, strict=True)
    log = {kind: {"total_errors_corrected": 124, "total_uncorrected_errors": number} for kind, number in kinds}
    return printed(
        device={"name": "/dev/sdc", "info_name": "/dev/sdc", "type": "scsi", "protocol": "SCSI"},
        serial_number="SCSI1",
        smart_support={"available": True, "enabled": True},
        temperature_warning={"enabled": True},
        smart_status={"passed": passed},
        temperature={"current": 29, "drive_trip": 65},
        power_on_time={"hours": 48213, "minutes": 11},
        scsi_grown_defect_list=3,
        scsi_error_counter_log=log,
        **more,
    )


GOOD, WARNING, FAILING, UNKNOWN = DiskVerdict
OLD_WEAR = {
    "pages": [
        {"number": 1, "name": "General Statistics", "table": []},
        {
            "number": 7,
            "name": "Solid State Device Statistics",
            "table": [
                {
                    **{"offset": 8, "name": "Percentage Used Endurance Indicator", "size": 1, "value": 12},
                    "flags": {"valid": True, "normalized": False},
                }
            ],
        },
    ]
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # temperature, hours, reallocated, pending, media errors, wear
        (ata(), (36, 36055, None, None, None, None)),
        (
            ata(attribute(5, "Reallocated_Sector_Ct", 8), attribute(197, "Current_Pending_Sector", 0)),
            (36, 36055, 8, 0, None, None),
        ),
        (ata(attribute(187, "Reported_Uncorrect", 2)), (36, 36055, None, None, 2, None)),
        (ata(attribute(198, "Offline_Uncorrectable", 1)), (36, 36055, None, None, 1, None)),
        (ata(ata_device_statistics=OLD_WEAR), (36, 36055, None, None, None, 12)),
        (ata(endurance_used={"current_percent": 13}), (36, 36055, None, None, None, 13)),
        (nvme(), (41, 3150, None, None, 0, 7)),
        (nvme(media_errors=3, percentage_used=20), (41, 3150, None, None, 3, 20)),
        (scsi(), (29, 48213, 3, None, 0, None)),
        (scsi(uncorrected=(2, 1)), (29, 48213, 3, None, 3, None)),
        (scsi(scsi_percentage_used_endurance_indicator=11), (29, 48213, 3, None, 0, 11)),
    ],
)
def test_the_figures_of_a_good_disk_are_read_wherever_its_kind_has_them(
    text: str, expected: tuple[int | None, ...]
) -> None:
    found = read(text)
    assert (found.verdict, found.reasons, found.why) == (GOOD, (), None)
    figures = found.temperature_celsius, found.hours_in_use, found.reallocated, found.pending
    assert (*figures, found.media_errors, found.wear_percent) == expected
    assert found.serial in ("ATA1", "NVME1", "SCSI1")


@pytest.mark.parametrize(
    ("text", "verdict", "codes"),
    [
        (ata(passed=False, status=8), FAILING, ["disk-failing"]),
        # Bit 3 of its status says the same, should it not be in the text.
        (printed(status=8, smart_status={}), FAILING, ["disk-failing"]),
        (scsi(passed=False), FAILING, ["disk-failing"]),
        (nvme(critical_warning=1), FAILING, ["disk-failing", "disk-failing"]),
        (nvme(critical_warning=4 | 8), FAILING, ["disk-failing"] * 3),
        (ata(attribute(197, "Current_Pending_Sector", 8)), WARNING, ["disk-pending"]),
        (nvme(percentage_used=89), GOOD, []),
        (nvme(percentage_used=90), WARNING, ["disk-worn"]),
        (nvme(percentage_used=255), WARNING, ["disk-worn"]),
        # Of a threshold that was passed before, or of an attribute that only says how old it is, nothing follows.
        (ata(attribute(5, "Reallocated", 9, when_failed="now", prefailure=True), status=16), FAILING, ["disk-failing"]),
        (ata(attribute(5, "Reallocated", 9, when_failed="past", prefailure=True), status=32), GOOD, []),
        (ata(attribute(190, "Airflow_Temperature", 9, when_failed="now"), status=32), GOOD, []),
    ],
)
def test_a_disk_is_judged_by_its_own_word(text: str, verdict: DiskVerdict, codes: list[str]) -> None:
    found = read(text)
    assert (found.verdict, [reason.code for reason in found.reasons]) == (verdict, codes)


def test_one_that_is_too_warm_is_not_taken_for_one_that_fails() -> None:
    text = json.loads(nvme(critical_warning=2, temperature=88))
    text["smart_status"]["passed"] = True
    found = read(json.dumps(text))
    assert (found.verdict, [reason.code for reason in found.reasons]) == (WARNING, ["disk-temperature"])
    assert "88" in found.reasons[0].text


@pytest.mark.parametrize(
    ("text", "words", "is_asleep"),
    [
        (printed(status=1, messages=("/dev/ubdb: Unable to detect device type",)), "Unable to detect", False),
        (
            printed(status=2, messages=("Smartctl open device: /dev/sdb failed: No such device",)),
            "cannot be asked",
            False,
        ),
        # Of a disk of SCSI that was stopped.
        (printed(status=2, device={"protocol": "SCSI"}, serial_number="2000"), "cannot be asked", False),
        (printed(status=4, device={"protocol": "SCSI"}, smart_support={"available": False}), "tells nothing", False),
        (printed(status=3, device={"protocol": "ATA"}, power_mode={"ata_value": 0}), "sleeps", True),
        ("", "cannot be read", False),
        ("[]", "cannot be read", False),
        ("{}", "tells nothing", False),
        ('{"smartctl": 1, "smart_status": [], "ata_smart_attributes": {"table": {}}}', "tells nothing", False),
    ],
)
def test_one_that_tells_nothing_is_unknown_and_says_why(text: str, words: str, is_asleep: bool) -> None:
    found = read(text)
    assert (found.verdict, found.is_asleep) == (UNKNOWN, is_asleep)
    assert words in (found.why or "")


def test_what_a_loopback_of_lio_says_is_no_temperature() -> None:
    found = read(printed(smart_status={"passed": True}, temperature={"current": 0}, scsi_temperature={"drive_trip": 0}))
    assert found == DiskHealth(GOOD)


def test_what_has_another_shape_than_expected_is_left_out() -> None:
    odd = json.loads(ata())
    odd["temperature"] = {"current": -5}
    odd["power_on_time"] = "long"
    odd["ata_smart_attributes"]["table"] = [None, {"id": 5, "raw": None}, {"id": 197, "raw": {"value": True}}]
    found = read(json.dumps(odd))
    assert found == DiskHealth(GOOD, serial="ATA1")


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (DiskCounts(1, 0, 0), DiskCounts(1, 0, 0), 0),
        (DiskCounts(1, 0, 0), DiskCounts(2, 0, 0), 1),
        (DiskCounts(1, 0, 0), DiskCounts(2, 1, 5), 3),
        # What was pending was replaced; what is told for the first time, or no more.
        (DiskCounts(1, 8, 0), DiskCounts(1, 0, 0), 0),
        (DiskCounts(), DiskCounts(7, 7, 7), 0),
        (DiskCounts(7, 7, 7), DiskCounts(), 0),
    ],
)
def test_a_disk_gets_worse_when_a_count_grows(before: DiskCounts, now: DiskCounts, expected: int) -> None:
    assert len(growth(before, now)) == expected


def test_counts_are_those_that_grow() -> None:
    assert counts(read(ata(attribute(5, "Reallocated_Sector_Ct", 8)))) == DiskCounts(8, None, None)
