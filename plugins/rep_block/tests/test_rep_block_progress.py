"""Progress out of /proc/drbd, as drbd_proc.c writes it."""

from __future__ import annotations

import pytest

from holdfast_rep_block.progress import Progress, parse

KIB, MIB = 1024, 1024 * 1024

PROC_DRBD = """\
version: 8.4.11 (api:1/proto:86-101)
srcversion: 059B1B470318F053F5077D5
 0: cs:SyncSource ro:Secondary/Secondary ds:UpToDate/Inconsistent C r-----
    ns:0 nr:131072 dw:131072 dr:369560 al:8 bm:0 lo:0 pe:5914 ua:0 ap:0 ep:1 wo:f oos:0
	[=========>..........] sync'ed: 51.6% (68608/131072)K
 1: cs:Connected ro:Secondary/Secondary ds:UpToDate/UpToDate C r-----
    ns:0 nr:0 dw:0 dr:0 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0
12: cs:VerifyS ro:Secondary/Secondary ds:UpToDate/UpToDate C r-----
	[===============>....] verified: 84.9% (23656/131072)K
	finish: 0:00:00 speed: 107,416 (107,416) want: 4,194,304 K/sec
"""


def test_progress_is_read_by_minor() -> None:
    assert parse(PROC_DRBD) == {
        0: Progress(51.6, 68608 * KIB, None),
        12: Progress(84.9, 23656 * KIB, 107416 * KIB),
    }


@pytest.mark.parametrize(
    ("line", "to_go_bytes"),
    [
        ("[>....] sync'ed:  1.6% (1023/1023)M", 1023 * MIB),
        ("[>....] sync'ed: 99.6% (380/131072)K", 380 * KIB),
        ("[>....] sync'ed: 10.0%", None),
    ],
)
def test_what_is_left_has_its_unit(line: str, to_go_bytes: int | None) -> None:
    assert parse(f" 3: cs:SyncTarget ro:Secondary/Primary\n\t{line}\n")[3].to_go_bytes == to_go_bytes


def test_a_volume_that_does_nothing_has_no_progress() -> None:
    assert parse(" 0: cs:Connected ro:Secondary/Secondary\n    ns:0 nr:0 oos:0\n") == {}
    assert parse("") == {}
