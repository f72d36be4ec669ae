"""holdfastd that kills itself at a persisted mark of a job, once, when a file asks it to.

Run in a node in place of `python -m holdfast`. ORDER holds `{"kind": JOB_KIND, "mark": N, "fails_at": M, "lives": L}`;
at the N-th mark of such a job that it sees, the process is gone, as if by `kill -9`. So are the next daemons at their
N-th, L in all; the last one removes the order, and whoever starts the daemon then gets one that lives. At the M-th, if
any, the step fails, so that the marks after it are those of the way back.

With `"ends": "the node"` it is the whole node that is gone, as without power. With `"ends": "nothing"` the daemon
stands still at each N-th mark, L times, until somebody removes STANDING.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

from holdfast.__main__ import run
from holdfast.config import read_arguments
from holdfast.errors import ConflictError
from holdfast.system.files import write_atomically

# On the state disk: the next daemon may be that of the next boot.
ORDER = Path("/var/lib/holdfast/dies.json")
STANDING = Path("/run/holdfast-stands")


class Death:
    """Counts the marks of the job that is named in the order."""

    def __init__(self) -> None:
        """Nothing counted yet."""
        self._seen = 0

    def observe(self, kind: str, persisted: int) -> None:
        """A mark of a job is durable now."""
        try:
            order = json.loads(ORDER.read_text())
        except FileNotFoundError:
            return
        if kind != order["kind"]:
            return
        self._seen += 1
        if self._seen == order["fails_at"]:
            raise ConflictError(f"{kind} was made to fail at mark {self._seen}")
        if self._seen == order["mark"]:
            if order["lives"] > 1:
                write_atomically(ORDER, json.dumps({**order, "lives": order["lives"] - 1}).encode(), mode=0o600)
            else:
                remove_durably(ORDER)
            self._end(order.get("ends", "the daemon"))

    def _end(self, what: str) -> None:
        if what == "the daemon":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "the node":
            Path("/proc/sysrq-trigger").write_text("b")
            time.sleep(60)
        else:
            self._seen = 0
            STANDING.touch()
            while STANDING.exists():
                time.sleep(0.05)


def remove_durably(path: Path) -> None:
    path.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


if __name__ == "__main__":
    asyncio.run(run(read_arguments(None, "holdfastd"), observe_step=Death().observe))
