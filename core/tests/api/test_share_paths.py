from __future__ import annotations

import re
import time

import pytest
from marshmallow import ValidationError

from holdfast.api.shares import PATH, ShareSchema


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "A_b-c.d",
        "a/b/c",
        ".hidden",
        "..a",
        "...",
        "a../b",
        "a/..b",
        "a/.b",
        "_",
        "a" * 101,
        "/".join("a" * 16),
    ],
)
def test_a_path_below_the_volume_is_taken(path: str) -> None:
    assert ShareSchema().load({"name": "s", "volume": "v", "path": path})["path"] == path


@pytest.mark.parametrize(
    "path",
    [
        "/", "/etc", "a/", "a//b", "..", ".", "../a", "a/..", "a/../b", "a/.", "./a", "-rf", "a/-rf", "a b", "a\n",
        "a\nb", "a\x00b", "ä", "a\\b", "a/\n", "~", "~root", "$HOME", "a:b", "*", "a" * 102,
        "/".join("a" * 17), " ", "a/ ",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_or_looks_like_an_option_is_refused(path: str) -> None:
    with pytest.raises(ValidationError) as raised:
        ShareSchema().load({"name": "s", "volume": "v", "path": path})
    assert list(raised.value.messages_dict) == ["path"]


@pytest.mark.parametrize("piece", ["a", "a/", ".", "./", "../", "a.", "-", "/", "._"])
def test_a_long_path_is_judged_at_once(piece: str) -> None:
    begun_s = time.monotonic()
    assert re.match(PATH, piece * (1_000_000 // len(piece)) + "!") is None
    assert time.monotonic() - begun_s < 0.5
