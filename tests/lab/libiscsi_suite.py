"""libiscsi's suite of SCSI and iSCSI tests against our targets. Minutes long, so it is run by name only:

.venv/bin/python -m pytest -m lab -s tests/lab/libiscsi_suite.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest

import pytest

from holdfast.hooks.target import InitiatorAccess
from lab import Lab, Node
from lab.layout import CHECKOUT
from tests.lab.iscsi import SPEC, VIRTUAL_ADDRESS, cleared, give_address, shell, succeed

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

NAME = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test"
UNIT = replace(SPEC.units[0], device="/dev/loop7", may_unmap=True)
TARGET = replace(SPEC, units=(UNIT,), access=(InitiatorAccess(NAME), InitiatorAccess(f"{NAME}-2")))
URL = f"iscsi://{VIRTUAL_ADDRESS}/{SPEC.iqn}/{UNIT.lun}"

PASSED_BY_PLAIN_LIO = 193
OF_RESERVATIONS = 27
TEXT = CHECKOUT / ".cache" / "libiscsi.txt"
"""All that the suite said, for whoever wants to know why."""
_WRITES = "the kernel refuses a write whose length in the command and on the wire differ; the test wants it carried out"
_VERIFY = "the kernel answers VERIFY without comparing anything, and without looking at VRPROTECT"
_COMPARE = "too many blocks are refused with another additional sense code (0E/03) than the test wants (24/00)"
NOT_PASSED: Mapping[str, str] = {
    "CompareAndWrite.Simple": _COMPARE,
    "CompareAndWrite.Miscompare": _COMPARE,
    "Inquiry.BlockLimits": "a loop device takes longer UNMAPs than the 1 Mi blocks that the test thinks sensible",
    "ReceiveCopyResults.CopyStatus": "the kernel knows only the service action that tells the parameters of copies",
    "Verify10.Mismatch": _VERIFY,
    "Verify10.VerifyProtect": _VERIFY,
    "Verify16.Mismatch": _VERIFY,
    "Verify16.VerifyProtect": _VERIFY,
    "iSCSIResiduals.Write10Residuals": _WRITES,
    "iSCSIResiduals.Write12Residuals": _WRITES,
    "iSCSIResiduals.Write16Residuals": _WRITES,
    "iSCSIResiduals.WriteVerify10Residuals": _WRITES,
    "iSCSIResiduals.WriteVerify16Residuals": _WRITES,
    "iSCSIdatasn.iSCSIDataSnInvalid": "the kernel takes data that comes under a wrong number",
}
"""Each is the kernel's own way, or the test's: nothing of it can be set from outside."""

_FAILED = re.compile(r"^\s*FAILED\s*$", re.MULTILINE)
"""Alone on its line: what is between brackets is said by the way, in tests that pass too."""
_LINE = re.compile(r"^(?:Suite: (?P<suite>\S+)|\s+Test: (?P<test>\S+) \.\.\.)", re.MULTILINE)


@pytest.fixture(scope="module")
def machines(lab_session: Lab) -> Iterator[tuple[Node, Node]]:
    lab_session.restore()
    with cleared(lab_session) as (a, _, c):
        shell(a, "modprobe loop; truncate -s 64M /run/loop7; losetup /dev/loop7 /run/loop7")
        give_address(a, c)
        succeed(a, "activate", spec=TARGET)
        yield a, c
        succeed(a, "remove", spec=TARGET)
        shell(a, "losetup -d /dev/loop7; rm /run/loop7")


def outcomes(text: str) -> dict[str, bool]:
    """`SUITE.TEST` to whether it passed, of what iscsi-test-cu prints."""
    found: dict[str, bool] = {}
    suite = ""
    marks = list(_LINE.finditer(text))
    for mark, following in zip_longest(marks, marks[1:]):
        if mark["suite"]:
            suite = mark["suite"]
        else:
            said = text[mark.end() : following.start() if following else len(text)]
            found[f"{suite}.{mark['test']}"] = _FAILED.search(said) is None
    return found


def test_the_suite_passes_but_for_what_is_explained(machines: tuple[Node, Node]) -> None:
    _, c = machines
    done = c.run(["iscsi-test-cu", "-d", "-v", "-t", "ALL", URL], check=False, timeout_s=800)
    text = done.stdout.decode(errors="replace")
    TEXT.parent.mkdir(exist_ok=True)
    TEXT.write_text(text)
    found = outcomes(text)
    failed = {name for name, passed in found.items() if not passed}
    print(f"{len(found) - len(failed)} of {len(found)} passed; failed: {', '.join(sorted(failed)) or 'none'}")
    assert failed == set(NOT_PASSED)
    assert len(found) - len(failed) >= PASSED_BY_PLAIN_LIO
    reserving = {name for name in found if name.startswith(("Prin", "Prout", "Reserve"))}
    assert len(reserving) == OF_RESERVATIONS
