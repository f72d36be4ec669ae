"""What rsync prints is read as it is meant. The texts were captured from rsync 3.5.0."""

from __future__ import annotations

import pytest

from holdfast.errors import VerificationError
from holdfast.hooks.replication import CopyProgress, CopyResult, RemoteReplica
from holdfast.system.command import SystemCommands
from holdfast_rep_rsync.reports import (
    Difference,
    read_difference,
    read_listing,
    read_progress,
    read_statistics,
    unescape,
)

STATISTICS = """
Number of files: 13 (reg: 8, dir: 2, link: 1, dev: 1, special: 1)
Number of created files: 6 (reg: 4, link: 1, dev: 1)
Number of deleted files: 4 (reg: 4)
Number of regular files transferred: 5
Total file size: 3145754 bytes
Total transferred file size: 5 bytes
Literal data: 4 bytes
Matched data: 1 bytes
File list size: 0
File list generation time: 0.001 seconds
File list transfer time: 0.000 seconds
Total bytes sent: 590
Total bytes received: 188

sent 590 bytes  received 188 bytes  1556.00 bytes/sec
total size is 3145754  speedup is 4043.39
"""


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("              1   0%    0.00kB/s    0:00:00  ", CopyProgress(1, 0.0, "copying")),
        (
            "        3145730  99%  176.47MB/s    0:00:00 (xfr#3, to-chk=9/14) ",
            CopyProgress(3145730, 99.0, "5 of 14 entries done"),
        ),
        (
            "        3145738  99% 1000.00MB/s    0:00:00 (xfr#7, to-chk=0/13)",
            CopyProgress(3145738, 99.0, "13 of 13 entries done"),
        ),
        ("      0 100%    0.00kB/s    0:00:00 (xfr#0, ir-chk=1/1)", CopyProgress(0, 100.0, "0 of 1 entries done")),
        ("  601423872  95%  134.07MB/s   10:00:04  ", CopyProgress(601423872, 95.0, "copying")),
        ("", None),
        ("Number of files: 13 (reg: 8)", None),
        ("total size is 3145754  speedup is 4043.39", None),
        ("12 100% of nothing", None),
    ],
)
def test_a_progress_record_is_read(line: str, wanted: CopyProgress | None) -> None:
    assert read_progress(line) == wanted


async def test_progress_records_that_end_in_carriage_returns_are_lines_of_their_own() -> None:
    printed = (
        r"\r   1   0%  0.00kB/s  0:00:00  \r   2  50%  0.98kB/s  0:00:00 (xfr#2, to-chk=1/2)\rNumber of files: 2\n"
    )
    async with SystemCommands().start(["printf", "%b", printed]) as running:
        lines = [line async for line in running.lines()]
    assert [record.sent_bytes for line in lines if (record := read_progress(line))] == [1, 2]


def test_the_statistics_are_read() -> None:
    assert read_statistics(STATISTICS.splitlines()) == CopyResult(
        files_considered=13,
        files_sent=5,
        files_deleted=4,
        considered_bytes=3145754,
        literal_bytes=4,
        sent_bytes=590,
        received_bytes=188,
    )


def test_statistics_with_a_line_missing_are_an_error_that_names_it() -> None:
    lines = [line for line in STATISTICS.splitlines() if not line.startswith("Literal")]
    with pytest.raises(VerificationError, match="Literal data"):
        read_statistics(lines)


def test_a_module_list_is_read_and_a_greeting_is_not() -> None:
    lines = ["Welcome to this server", "", "rep            \tHoldfast replica share", "a-name-longer-than-15\t"]
    assert read_listing(lines) == (
        RemoteReplica("rep", "Holdfast replica share"),
        RemoteReplica("a-name-longer-than-15", ""),
    )


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("plain", "plain"),
        (r"new\#012line", "new\nline"),
        (r"back\#134#012slash", r"back\#012slash"),
        (r"back\slash", r"back\slash"),
        (r"\#377\#376raw", r"\xff\xferaw"),
        ("é", "é"),
    ],
)
def test_an_escaped_name_is_shown_as_it_is(printed: str, shown: str) -> None:
    assert unescape(printed) == shown


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("*deleting   extra", Difference("extra", "is only in the replica")),
        (r"*deleting   new\#012extra", Difference("new\nextra", "is only in the replica")),
        ("*deleting   dd/", Difference("dd", "is only in the replica")),
        (".d..t...... ./", Difference(".", "differs in modification time")),
        ("<f+++++++++ -dash", Difference("-dash", "is not in the replica")),
        ("<f+++++++++  leading", Difference(" leading", "is not in the replica")),
        ("cd+++++++++ d/", Difference("d", "is not in the replica")),
        ("hf+++++++++ h", Difference("h", "is not in the replica")),
        (".f....og..x a", Difference("a", "differs in owner, group, extended attributes")),
        (".f...p..... big", Difference("big", "differs in mode")),
        (".d.......a. d/", Difference("d", "differs in ACL")),
        (
            "<f.stpog.ax a",
            Difference("a", "differs in size, modification time, mode, owner, group, ACL, extended attributes"),
        ),
        ("<fc........ big", Difference("big", "differs in content")),
        ("hf          h", Difference("h", "differs in hard links")),
        ("cLc........ l", Difference("l", "differs in target")),
        ("cDc........ null", Difference("null", "differs in device number")),
        ("", None),
        ("sending incremental file list", None),
        ("building file list ... done", None),
    ],
)
def test_an_itemized_change_is_put_in_words(line: str, wanted: Difference | None) -> None:
    assert read_difference(line) == wanted
