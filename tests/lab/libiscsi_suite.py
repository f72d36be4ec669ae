"""libiscsi's suite of SCSI and iSCSI tests against our targets. Minutes long, so it is run by name only:

.venv/bin/python -m pytest -m lab -s tests/lab/libiscsi_suite.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from holdfast.hooks.target import InitiatorAccess
from lab import Lab, Node
from tests.lab.iscsi import SPEC, VIRTUAL_ADDRESS, cleared, give_address, shell, succeed

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

NAME = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test"
UNIT = replace(SPEC.units[0], device="/dev/loop7", may_unmap=True)
TARGET = replace(SPEC, units=(UNIT,), access=(InitiatorAccess(NAME), InitiatorAccess(f"{NAME}-2")))
URL = f"iscsi://{VIRTUAL_ADDRESS}/{SPEC.iqn}/{UNIT.lun}"

PASSED_BY_PLAIN_LIO = 193
NOT_PASSED: frozenset[str] = frozenset()

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
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        if mark["suite"]:
            suite = mark["suite"]
        else:
            said = text[mark.end() : following.start() if following else len(text)]
            found[f"{suite}.{mark['test']}"] = "FAILED" not in said
    return found


def test_the_suite_passes_but_for_what_is_explained(machines: tuple[Node, Node]) -> None:
    _, c = machines
    done = c.run(["iscsi-test-cu", "-d", "-n", "-t", "ALL", URL], check=False, timeout_s=800)
    text = done.stdout.decode(errors="replace")
    found = outcomes(text)
    failed = {name for name, passed in found.items() if not passed}
    print(f"{len(found) - len(failed)} of {len(found)} passed; failed: {', '.join(sorted(failed)) or 'none'}")
    print(text[-1500:])
    (c.host_dir / "libiscsi.txt").write_text(text)
    assert failed == NOT_PASSED
