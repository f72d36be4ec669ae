"""`python -m soak [--faults N | --hours H] [--seed SEED] [--from NUMBER] [--result FILE]`: see README.md."""

from __future__ import annotations

import argparse
import math
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.frame import RESULTS, facts
from demo.client import Refused
from lab import Lab, LabError
from lab.layout import CHECKOUT
from lab.tools import call
from soak import outcome as outcomes
from soak.outcome import Outcome, Violation
from soak.plan import Fault, draw
from soak.run import Soak

STATE = CHECKOUT / ".lab-soak"
FAILURES = CHECKOUT / ".lab-failures"
COMPARES_EVERY = 10


def main() -> int:
    """Soak; 0 if all held, 1 for a violation, 2 if it could not begin, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m soak", description="random faults under load, audited")
    parser.add_argument("--faults", type=int, default=1000, help="how many (%(default)s)")
    parser.add_argument("--hours", type=float, default=math.inf, help="begin none after so long")
    parser.add_argument("--seed", type=int, help="what they are drawn from (a random one, which is told)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="number of the first fault (%(default)s)")
    parser.add_argument("--result", type=Path, default=RESULTS / "soak.json", help="where it is kept (%(default)s)")
    parser.add_argument("--state", type=Path, default=STATE, help="where its nodes have their files (%(default)s)")
    parser.add_argument("--no-lock", action="store_true", help="wait for no other lab of this machine")
    parser.add_argument("--plan", action="store_true", help="tell the faults and do nothing")
    asked = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if asked.seed is None else asked.seed
    faults = [draw(seed, number) for number in range(asked.first, asked.first + asked.faults)]
    if asked.plan:
        print("\n".join(f"{fault.number:4d}  {fault}" for fault in faults))
        return 0
    # As Ctrl-C: the nodes go down and what was seen is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"seed {seed}, {len(faults)} faults from number {asked.first}", flush=True)
    try:
        with Lab.start(state_dir=asked.state, lock=not asked.no_lock) as lab:
            return soak(lab, seed, faults, asked.hours * 3600, asked.result)
    except KeyboardInterrupt:
        sys.stderr.write("\nsoak: interrupted; nothing of it is left running\n")
        return 130
    except LabError as reason:
        sys.stderr.write(f"soak: {reason}\n")
        return 2


def soak(lab: Lab, seed: int, faults: list[Fault], seconds: float, result: Path) -> int:
    """Go through the faults one by one, until the first violation; keep what was seen, however it ends."""
    soak = Soak(lab)
    try:
        soak.begin()
    except (AssertionError, OSError, Refused, Violation) as reason:
        soak.collect(FAILURES / f"soak-{seed}-begin")
        sys.stderr.write(f"soak: the pair does not come up: {reason}\n")
        return 2
    machine = {**facts(lab.node("a")), "commit": _commit(), "seed": seed, "first": faults[0].number if faults else 0}
    seen: list[Outcome] = []
    ended, violation, differing = "interrupted", None, None
    began_s = time.monotonic()
    try:
        violation = _go_through(soak, faults, began_s + seconds, seen)
        if violation is None:
            differing = soak.compare()
            violation = f"{differing} bytes differ at the end" if differing else None
        ended = "all held" if violation is None else "violation"
        if violation is not None:
            _tell(soak, seed, faults[min(len(seen), len(faults) - 1)], violation)
    finally:
        machine["took_s"] = round(time.monotonic() - began_s)
        told: Any = None
        if violation is not None:
            told = {"fault": faults[min(len(seen), len(faults) - 1)].as_document(), "sentence": violation}
        kept = outcomes.keep(result, machine, seen, ended=ended, violation=told, differing_bytes=differing)
        soak.end()
        print("\n".join(["", *outcomes.table(kept), "", _summary(kept), f"kept in {result}"]), flush=True)
    return 0 if violation is None else 1


def _go_through(soak: Soak, faults: list[Fault], until_s: float, seen: list[Outcome]) -> str | None:
    """Add to what was seen; what must not be, or None."""
    for fault in faults:
        if time.monotonic() > until_s:
            break
        began_s = time.monotonic()
        try:
            outcome = soak.go_through(fault, compare=fault.number % COMPARES_EVERY == COMPARES_EVERY - 1)
        except Violation as reason:
            return str(reason)
        seen.append(outcome)
        moved = f"{outcome.active_before} -> {outcome.active_after}" if outcome.has_moved else "stayed"
        restarted = f", {' and '.join(outcome.restarted)} restarted" if outcome.restarted else ""
        compared = "" if outcome.differing_bytes is None else ", compared"
        print(
            f"{fault.number:4d}  {time.monotonic() - began_s:5.1f} s  {fault}: gap {outcome.gap_ms:.0f} ms, {moved}"
            f"{restarted}, healed in {outcome.healed_s:.1f} s, {outcome.acknowledged} writes{compared}",
            flush=True,
        )
    return None


def _tell(soak: Soak, seed: int, fault: Fault, violation: str) -> None:
    place = FAILURES / f"soak-{seed}-{fault.number}"
    soak.collect(place)
    print(f"{fault.number:4d}  {fault}: VIOLATION: {violation}")
    print(f"      what explains it lies in {place}")
    print(f"      again: make soak SEED={seed} FROM={fault.number} N=1", flush=True)


def _summary(kept: dict[str, Any]) -> str:
    lost = kept["lost_writes"]
    return (
        f"{kept['faults']} faults, {kept['acknowledged_writes']} writes acknowledged,"
        f" {'see the violation' if lost is None else f'{lost} lost'}; {kept['ended']}"
    )


def _commit() -> str:
    commit = call(["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12"])
    return commit.strip()


if __name__ == "__main__":
    sys.exit(main())
