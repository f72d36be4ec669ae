"""The rules of a copy become rsync's options; and rsync leaves out what the contract's own matcher does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from holdfast.errors import InvalidError
from holdfast.hooks.copying import CopyAction, CopyChange, CopyOptions, FilterRule
from holdfast.hooks.filters import check_pattern, is_excluded
from holdfast_rep_rsync import options, reports

APART = "--filter=- /.holdfast-partial"
RULES = (FilterRule("a b.tmp", is_included=True), FilterRule("*.tmp", is_included=False))
KEPT = "--partial-dir=/.holdfast-partial"


@pytest.mark.parametrize(
    ("given", "told_bytes_s", "wanted"),
    [
        (CopyOptions(), None, (APART, "--delete-before", KEPT)),
        (CopyOptions(is_deleting=False), None, (APART, KEPT)),
        (
            CopyOptions(filters=RULES),
            None,
            (APART, "--filter=+ a b.tmp", "--filter=- *.tmp", "--delete-before", KEPT),
        ),
        (CopyOptions(bandwidth_bytes_s=10_240), None, (APART, "--delete-before", KEPT, "--bwlimit=10")),
        (CopyOptions(bandwidth_bytes_s=10_240), 4096, (APART, "--delete-before", KEPT, "--bwlimit=4")),
        (CopyOptions(bandwidth_bytes_s=10_240), 1 << 30, (APART, "--delete-before", KEPT, "--bwlimit=10")),
        (CopyOptions(), 5, (APART, "--delete-before", KEPT, "--bwlimit=1")),
        (CopyOptions(is_compressed=True), None, (APART, "--delete-before", KEPT, "--compress")),
    ],
)
def test_a_copy_is_asked_for_by(given: CopyOptions, told_bytes_s: int | None, wanted: tuple[str, ...]) -> None:
    assert options.copying(given, told_bytes_s) == wanted


def test_a_look_ahead_changes_nothing_and_compares_as_the_copy_would() -> None:
    given = CopyOptions(filters=RULES, bandwidth_bytes_s=1, is_compressed=True)
    rules = (APART, "--filter=+ a b.tmp", "--filter=- *.tmp", "--delete-before")
    assert options.looking_ahead(given, with_names=False) == ("--dry-run", "--info=stats2", *rules)
    named = ("--dry-run", "--info=stats2", "--out-format=%i %l %n", *rules)
    assert options.looking_ahead(given, with_names=True) == named


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "/", "//", "a\nb", "a\0", "a\\*", "/cache/***", "[a", "[z-a]", "[[:alpha:]]", " a", "a ", "a//b"),
        *("..", "a/../b", "./a", "x" * 513),
    ],
)
def test_a_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_pattern(pattern)
    assert caught.value.reasons[0].field == "filters"
    assert caught.value.reasons[0].remedy


@pytest.mark.parametrize(
    "pattern", ["a", "*", "/a", "a/", "/a/b/", "**", "a/**/b", "[!a-c]?x", "-rf", "[]a]", "+ x", "#"]
)
def test_a_pattern_is_taken(pattern: str) -> None:
    check_pattern(pattern)


NAMES = (
    *("a", "b.tmp", "keep.tmp", "-rf", "+ x", "#", "[x]", "deep/a", "deep/b.tmp", "deep/er/a", "deep/er/c.log"),
    *("cache/x", "cache/deep/y", "deep/cache/z", "logs/1/old", "logs/1/2/old", "logs/old", "aXb", "a.b", "é", "deep/é"),
)
PATTERNS = (
    *("a", "/a", "*.tmp", "/*.tmp", "cache/", "/cache/", "cache", "deep/a", "/deep/a", "deep/*", "deep/**", "/deep/"),
    *("logs/*/old", "logs/**/old", "logs/**", "**/old", "a?b", "a[X.]b", "a[!X]b", "[]x[]*", "-rf", "+ x", "#", "er"),
    *("/**/a", "?", "**", "*", "deep/er", "e[p]/", "d**p/a", "**a"),
)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("included", [(), ("keep.tmp", "deep/", "logs/")], ids=["alone", "after an inclusion"])
def test_rsync_leaves_out_what_the_contract_says(pattern: str, included: tuple[str, ...], tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in NAMES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    rules = (*(FilterRule(text, is_included=True) for text in included), FilterRule(pattern, is_included=False))
    words = options.filters(CopyOptions(filters=rules))
    subprocess.run(["rsync", "-r", *words, f"{source}/", f"{tmp_path}/copy/"], check=True)
    copied = {name for name in NAMES if (tmp_path / "copy" / name).exists()}
    assert copied == {name for name in NAMES if not is_excluded(rules, name, is_directory=False)}
    for directory, below, _ in os.walk(source):
        for name in below:
            path = os.path.relpath(os.path.join(directory, name), source)  # noqa: PTH118 - as names, not as paths
            assert (tmp_path / "copy" / path).exists() is not is_excluded(rules, path, is_directory=True), path


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("<f+++++++++ 17 docs/new", CopyChange(CopyAction.SEND, "docs/new", 17)),
        ("<f.st...... 7 a b", CopyChange(CopyAction.SEND, "a b", 7)),
        ("<f+++++++++ 0 new\\#012line", CopyChange(CopyAction.SEND, "new\nline", 0)),
        ("cd+++++++++ 4096 docs/", CopyChange(CopyAction.UPDATE, "docs", None)),
        (".f...p..... 9 script", CopyChange(CopyAction.UPDATE, "script", None)),
        ("cL+++++++++ 3 link", CopyChange(CopyAction.UPDATE, "link", None)),
        ("hf+++++++++ 9 other name", CopyChange(CopyAction.UPDATE, "other name", None)),
        ("*deleting   0 gone", CopyChange(CopyAction.DELETE, "gone", None)),
        ("*deleting   4096 gone/", CopyChange(CopyAction.DELETE, "gone", None)),
        (".f          9 equal", None),
        ("Number of files: 3 (reg: 2, dir: 1)", None),
        ("", None),
    ],
)
def test_a_line_of_a_look_ahead_is_read(line: str, wanted: CopyChange | None) -> None:
    assert reports.read_change(line) == wanted


def test_the_limit_of_a_replica_share_is_read_back_from_its_comment() -> None:
    limited = f"docs           \tHoldfast replica share{reports.limit_words(12_345)}"
    free = "other          \tHoldfast replica share"
    fooled = "third          \tat most 9 bytes a second, they say"
    found = reports.read_listing([limited, free, fooled])
    assert [replica.bandwidth_bytes_s for replica in found] == [12_345, None, None]
