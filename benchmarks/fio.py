"""fio's jobs and figures: one command line, jobs one after the other, each past the page cache of who runs it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Job:
    """So many accesses at a time to a region of a device: for a time, or each block of it once."""

    name: str
    kind: str
    """As fio has it: `write`, `randwrite`, `randread`."""
    block: str
    depth: int
    region_bytes: int
    seconds: float | None = None
    start_bytes: int = 0
    io_bytes: int | None = None
    """How much is done, if not as much as the region has: what skips would begin anew at its end."""

    @property
    def words(self) -> list[str]:
        """The job on a command line."""
        found = [f"--name={self.name}", "--stonewall", f"--rw={self.kind}", f"--bs={self.block}"]
        found += [f"--iodepth={self.depth}", f"--size={self.region_bytes}", f"--offset={self.start_bytes}"]
        if self.io_bytes is not None:
            found.append(f"--io_size={self.io_bytes}")
        # Milliseconds: a bare number is seconds, and whole ones.
        return [*found, "--time_based", f"--runtime={round(self.seconds * 1000)}ms"] if self.seconds else found


def command(device: str, jobs: Sequence[Job]) -> str:
    """What a shell is told."""
    argv = ["fio", "--output-format=json", "--lat_percentiles=1", "--thread", "--ioengine=libaio", "--direct=1"]
    argv.append(f"--filename={device}")
    return " ".join([*argv, *(word for job in jobs for word in job.words)])


def figures(text: str) -> dict[str, float]:
    """Of each job: JOB_iops, JOB_mib_s, JOB_us (the mean), JOB_median_us and JOB_worst_us.

    Raises OSError for a job that failed, ValueError for one that did nothing.
    """
    found = {}
    for job in json.loads(text[text.index("{") :])["jobs"]:
        name = job["jobname"]
        if job["error"]:
            raise OSError(job["error"], f"job {name} of fio failed")
        done = max((job["read"], job["write"]), key=lambda way: int(way["total_ios"]))
        if not done["total_ios"]:
            raise ValueError(f"job {name} of fio did nothing")
        found[f"{name}_iops"] = done["iops"]
        found[f"{name}_mib_s"] = done["bw_bytes"] / MIB
        found[f"{name}_us"] = done["lat_ns"]["mean"] / 1000
        found[f"{name}_median_us"] = done["lat_ns"]["percentile"]["50.000000"] / 1000
        found[f"{name}_worst_us"] = done["lat_ns"]["max"] / 1000
    return found
