"""`python -m demo [--keep]`: the main job in the lab."""

from __future__ import annotations

import argparse
import sys

from demo import blocks, files
from demo.bed import PORT, STATE, Bed
from demo.client import Refused
from demo.report import Report
from lab import Lab, LabError
from lab.node import MOST_OF_THE_PROCESSORS


def main() -> int:
    """Run the job; the exit code says whether all of it held."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="the main job on two virtual nodes")
    parser.add_argument("--keep", action="store_true", help="leave the nodes up afterwards")
    keep = parser.parse_args().keep
    try:
        return show(keep=keep)
    except KeyboardInterrupt:
        sys.stderr.write("\ndemo: interrupted; nothing of it is left running\n")
        return 130


def show(*, keep: bool) -> int:
    """Boot the lab, run the job in it, and leave it up or take it down."""
    report = Report()
    try:
        with report.step("two nodes, an initiator and a ping node have booted"):
            lab = Lab.start()
        report.leave_out(lab.waited_s)
    except LabError as reason:
        sys.stderr.write(f"demo: {reason}\n")
        return 1
    # Whoever runs the job only looks on: did a node wait for that, the initiator would wait a second more.
    for node in lab.nodes.values():
        node.set_niceness(MOST_OF_THE_PROCESSORS)
    bed = Bed(lab)
    try:
        run(bed, report)
    except (AssertionError, LabError, OSError, Refused) as reason:
        # TimeoutError is an OSError.
        sys.stderr.write(f"\ndemo: {reason or repr(reason)}\n")
        sys.stderr.write(f"demo: the nodes' logs are in {lab.collect(lab.layout.root / 'failure')}\n")
        return 1
    except KeyboardInterrupt:
        keep = False
        raise
    finally:
        if keep:
            lab.detach()
            explain(bed)
        else:
            lab.stop()
    return 0


def run(bed: Bed, report: Report) -> None:
    """All steps of the main job. Raises whatever does not hold."""
    report.chapter("1. Two nodes become a pair")
    with report.step("holdfastd and its monitor run on both nodes"):
        bed.start_product()
    files.pair(bed, report)
    report.chapter("2. A share is copied to the partner")
    files.replicate(bed, report)
    blocks.run(bed, report)
    report.table()


def explain(bed: Bed) -> None:
    """Say how to reach what was left up."""
    print("\nThe nodes stay up. `python -m lab status` shows them, `python -m lab down` ends them.")
    for name in sorted(bed.storage):
        address = bed.storage[name].node.address("management")
        print(f"  node {name}: enter it with   python -m lab shell {name}")
        print(f"          its API:        https://{address}:{PORT} (token: {STATE}/token in the node)")
        command = f'curl -sk -H "Authorization: Bearer $(cat {STATE}/token)" https://{address}:{PORT}/v1/node'
        print(f"          for example:    python -m lab run {name} sh -c '{command}'")
    print("  the initiator:  python -m lab shell c", flush=True)


if __name__ == "__main__":
    sys.exit(main())
