"""Benches 4 and 21, and what leaving 256 LUNs alone costs: boots a lab, measures in one node, writes the result.

.venv/bin/python -m benchmarks.luns [COUNT [CHURN]]
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from lab import Lab
from lab.layout import CHECKOUT

RESULT = CHECKOUT / "benchmarks" / "results" / "luns.json"
PYTHON = str(CHECKOUT / ".venv/bin/python")
ENVIRONMENT = {
    "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT}/core:{CHECKOUT}/plugins/iscsi_lio",
    "PYTHONDONTWRITEBYTECODE": "1",
}
WITHIN_S = 1500.0

# What is promised, each as a ratio of two figures of one run: at least so much.
PROMISED = {
    "takeover: times as fast as rtslib's restore": ("takeover_rtslib_s", "takeover_s", 8.0),
    "takeover: share of the raw limit": ("takeover_raw_s", "takeover_s", 1 / 1.25),
    "churn: times as fast as targetcli": ("churn_targetcli_s", "churn_s", 50.0),
    "churn: times as fast as rtslib": ("churn_rtslib_s", "churn_s", 1.5),
    "churn: the first five LUNs' time over the last five's": ("churn_first_s", "churn_last_s", 1 / 1.2),
    "a no-op apply: times as fast as making them": ("make_s", "no_op_s", 10.0),
}


def judge(figures: dict[str, float]) -> dict[str, dict[str, float | bool]]:
    """Each promise with its ratio, and whether it is kept."""
    found: dict[str, dict[str, float | bool]] = {}
    for name, (above, below, least) in PROMISED.items():
        ratio = figures[above] / figures[below]
        found[name] = {"ratio": round(ratio, 2), "promised": round(least, 2), "is_kept": ratio >= least}
    return found


def main() -> None:
    """Measure, print and keep."""
    count, churn = [*map(int, sys.argv[1:3]), *(256, 50)[len(sys.argv) - 1 :]]
    with Lab.start(state_dir=CHECKOUT / ".lab-bench") as lab:
        node = lab.node("a")
        node.run(["modprobe", "brd", f"rd_nr={count}", "rd_size=1024"])
        argv = [PYTHON, "-m", "benchmarks.luns_in_node", str(count), str(churn)]
        done = node.run(argv, env=ENVIRONMENT, cwd=str(CHECKOUT), timeout_s=WITHIN_S, check=False)
        if done.returncode:
            sys.exit(done.stderr.decode()[-4000:])
        figures = json.loads(done.stdout.decode().splitlines()[-1])
    promises = judge(figures)
    RESULT.parent.mkdir(exist_ok=True)
    kept = {"measured_at": datetime.now(UTC).date().isoformat(), "figures": figures, "promises": promises}
    RESULT.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
