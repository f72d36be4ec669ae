"""The frame of the benchmarks tells a kept promise from a broken one, and measured from not measured."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.frame import Promise, Spread, judge, keep, take_turns

FASTER = Promise("twice as fast", "peer_s", "ours_s", 2.0, reason="it is slow")


@pytest.mark.parametrize(
    ("peer_s", "ours_s", "is_kept"),
    [
        ([4.0, 4.0, 4.0], [1.0, 1.0, 1.0], True),
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], True),
        ([1.999, 1.999, 1.999], [1.0, 1.0, 1.0], False),
        ([1.0, 1.0, 1.0], [4.0, 4.0, 4.0], False),
        # One round of three does not decide, be it good or bad.
        ([9.0, 1.0, 1.0], [1.0, 1.0, 1.0], False),
        ([0.1, 3.0, 3.0], [1.0, 1.0, 1.0], True),
        # A constant stands for every round.
        ([4.0], [1.0, 1.5, 9.0], True),
        ([4.0], [1.0, 2.5, 9.0], False),
    ],
)
def test_the_middle_of_the_rounds_ratios_decides(peer_s: list[float], ours_s: list[float], is_kept: bool) -> None:
    assert judge(FASTER, {"peer_s": peer_s, "ours_s": ours_s}).is_kept is is_kept


def test_ratios_are_of_one_round_each() -> None:
    verdict = judge(FASTER, {"peer_s": [10.0, 20.0, 60.0], "ours_s": [5.0, 5.0, 10.0]})
    assert verdict.ratio == Spread(4.0, 2.0, 6.0)


@pytest.mark.parametrize("ours_s", [[0.0, 1.0], [-1.0, 1.0], [1.0, 1.0, 1.0], []])
def test_what_was_not_measured_is_no_kept_promise(ours_s: list[float]) -> None:
    with pytest.raises(ValueError, match="twice as fast"):
        judge(FASTER, {"peer_s": [9.0, 9.0], "ours_s": ours_s})


async def test_ways_take_turns_and_none_is_always_first() -> None:
    seen = []

    async def way(name: str) -> Mapping[str, float]:
        seen.append(name)
        return {"s": len(seen)}

    figures = await take_turns(3, {"x": lambda: way("x"), "y": lambda: way("y")})
    assert seen == ["x", "y", "y", "x", "x", "y"]
    assert figures == {"x_s": [1, 4, 5], "y_s": [2, 3, 6]}


def test_a_broken_promise_stays_in_the_result_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep("slow", {"kernel": "6"}, {"peer_s": [1.0, 1.0], "ours_s": [2.0, 4.0]}, [FASTER], tmp_path)
    told = json.loads((tmp_path / "slow.json").read_text())
    assert told["promises"]["twice as fast"] == {
        "ratio": {"median": 0.375, "low": 0.25, "high": 0.5},
        "promised": 2.0,
        "is_kept": False,
        "reason": "it is slow",
    }
    assert told["figures"]["ours_s"] == {"median": 3.0, "low": 2.0, "high": 4.0, "rounds": 2}
    assert "| twice as fast | 0.375 | 0.25 to 0.5 | 2 | **no** |" in capsys.readouterr().out


def test_a_kept_promise_needs_no_reason(tmp_path: Path) -> None:
    keep("fast", {}, {"peer_s": [4.0], "ours_s": [1.0]}, [FASTER], tmp_path)
    assert json.loads((tmp_path / "fast.json").read_text())["promises"]["twice as fast"] == {
        "ratio": {"median": 4.0, "low": 4.0, "high": 4.0},
        "promised": 2.0,
        "is_kept": True,
    }


def test_a_ratio_of_which_nothing_is_promised_is_told_and_neither_kept_nor_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told_only = Promise("how much faster", "peer_s", "ours_s", None, reason="not shown")
    [verdict] = keep("told", {}, {"peer_s": [4.0], "ours_s": [1.0]}, [told_only], tmp_path)
    assert verdict.is_kept is None
    assert json.loads((tmp_path / "told.json").read_text())["promises"]["how much faster"] == {
        "ratio": {"median": 4.0, "low": 4.0, "high": 4.0},
        "promised": None,
        "is_kept": None,
    }
    assert "| how much faster | 4 | 4 to 4 |  |  |" in capsys.readouterr().out
