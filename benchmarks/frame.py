"""What every benchmark does alike: rounds that take turns, figures with their spread, promises judged, the result kept.

A figure is one number a round. A promise is about the ratio of two figures of one round, never about seconds alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from lab import Node

RESULTS = Path(__file__).with_name("results")

Way = Callable[[], Awaitable[Mapping[str, float]]]
"""Measures one way to do it once: its figures by name."""


@dataclass(frozen=True)
class Promise:
    """The figure `above` is at least `least` times the figure `below`, in the middle of all rounds.

    With None as `least` nothing is promised, and the ratio is only told.
    """

    text: str
    above: str
    below: str
    least: float | None
    reason: str = ""
    """Why it is not kept, where that is known; shown only if it is not."""


@dataclass(frozen=True)
class Spread:
    """The middle and both ends of a figure's rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one round or more."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Verdict:
    """What became of a promise."""

    promise: Promise
    ratio: Spread

    @property
    def is_kept(self) -> bool | None:
        """By the middle of the rounds, unrounded; None where nothing is promised."""
        return None if self.promise.least is None else self.ratio.median >= self.promise.least


def judge(promise: Promise, figures: Mapping[str, Sequence[float]]) -> Verdict:
    """Compare round by round. A figure of one round stands for all of them.

    Raises ValueError for a figure that is not above zero, or has other rounds: then nothing was measured.
    """
    above, below = figures[promise.above], figures[promise.below]
    rounds = max(len(above), len(below))
    if {len(above), len(below)} - {1, rounds} or not rounds:
        raise ValueError(f"{promise.text}: {len(above)} rounds of {promise.above}, {len(below)} of {promise.below}")
    if min(*above, *below) <= 0:
        raise ValueError(f"{promise.text}: {promise.above} or {promise.below} was not measured")
    above, below = ([*values] * (rounds // len(values)) for values in (above, below))
    return Verdict(promise, Spread.of([one / other for one, other in zip(above, below, strict=True)]))


async def take_turns(rounds: int, ways: Mapping[str, Way]) -> dict[str, list[float]]:
    """Go every way once a round, each round beginning with another one; figures are named WAY_FIGURE."""
    figures: dict[str, list[float]] = {}
    names = list(ways)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            for figure, value in (await ways[name]()).items():
                figures.setdefault(f"{name}_{figure}", []).append(value)
    return figures


def facts(node: Node) -> dict[str, str]:
    """What the figures depend on: versions, as a node has them, and the machine below it with its load."""
    script = "uname -r; head -n1 /proc/drbd; lvm version | sed -n 's/.*LVM version: *//p'"
    kernel, drbd, lvm = node.run(["sh", "-ec", f"modprobe drbd; {script}"]).stdout.decode().splitlines()[:3]
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "measured_at": datetime.now(UTC).date().isoformat(),
        "kernel": kernel,
        "drbd": drbd.removeprefix("version: "),
        "lvm": lvm,
        "processors": f"{os.cpu_count()} x {models[0].partition(': ')[2] if models else 'unknown'}",
        "load_at_start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def keep(
    name: str,
    about: Mapping[str, str],
    figures: Mapping[str, Sequence[float]],
    promises: Sequence[Promise],
    directory: Path = RESULTS,
) -> list[Verdict]:
    """Write `results/NAME.json`, print both tables, and return the verdicts."""
    verdicts = [judge(promise, figures) for promise in promises]
    told = {
        "machine": {**about, "load_at_end": " ".join(f"{load:.2f}" for load in os.getloadavg())},
        "figures": {each: {**_rounded(Spread.of(values)), "rounds": len(values)} for each, values in figures.items()},
        "promises": {
            v.promise.text: {
                "ratio": _rounded(v.ratio),
                "promised": None if v.promise.least is None else round(v.promise.least, 3),
                "is_kept": v.is_kept,
                **({"reason": v.promise.reason} if v.promise.reason and v.is_kept is False else {}),
            }
            for v in verdicts
        },
    }
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
    print("\n".join(table(figures, verdicts)))
    return verdicts


def table(figures: Mapping[str, Sequence[float]], verdicts: Sequence[Verdict]) -> list[str]:
    """Two tables for people: the figures, and the promises."""
    lines = ["| figure | median | lowest | highest | rounds |", "|---|---|---|---|---|"]
    for name, values in figures.items():
        spread = Spread.of(values)
        lines.append(
            f"| {name} | {_said(spread.median)} | {_said(spread.low)} | {_said(spread.high)} | {len(values)} |"
        )
    lines += ["", "| promise | ratio | of the rounds | promised | kept |", "|---|---|---|---|---|"]
    for v in verdicts:
        ends = f"{_said(v.ratio.low)} to {_said(v.ratio.high)}"
        promised = "" if v.promise.least is None else _said(v.promise.least)
        kept = {True: "yes", False: "**no**", None: ""}[v.is_kept]
        lines.append(f"| {v.promise.text} | {_said(v.ratio.median)} | {ends} | {promised} | {kept} |")
    return lines


def _rounded(spread: Spread) -> dict[str, float]:
    return {name: float(f"{getattr(spread, name):.4g}") for name in ("median", "low", "high")}


def _said(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
