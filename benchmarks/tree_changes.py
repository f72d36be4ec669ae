"""Benches 13 and 14: the second copy of a tree, by a list of changes / by a walk / by bare rsync, all in the same run.

Natively, on this machine: both sides are memory, and the agent is on loopback, in clear; bare rsync has none. What a
run does is timed, from the look at what would be deleted to the verification, without its snapshot.

.venv/bin/python -m benchmarks.tree_changes [FILES [ROUNDS]]
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from benchmarks.frame import Promise, Way, keep, take_turns
from holdfast.hooks.base import Host
from holdfast.hooks.replication import AgentSpec, CopyRun, ReplicaShare
from holdfast.planning.copy_ways import Compared
from holdfast.services.copies.listings import Listings, RunFiles, Walked
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.ports import free_port
from holdfast.values import Secret
from holdfast_rep_rsync.driver import RsyncDriver, open_driver
from holdfast_rep_rsync.settings import Settings

FILES, ROUNDS, CHANGED, A_FOLDER = 200_000, 5, 100, 100
FILE_BYTES = 1024
ATTRIBUTES = ("-aHAXXS", "--numeric-ids", "--modify-window=-1", "--delete-before")
PROMISES = (
    Promise("100 changed: times as fast as a walk", "walk_100_s", "list_100_s", 3.0),
    Promise("nothing changed: times as fast as a walk", "walk_0_s", "list_0_s", 3.0),
    Promise("100 changed: times as fast as bare rsync, which verifies nothing", "bare_100_s", "list_100_s", None),
    Promise("nothing changed: times as fast as bare rsync", "bare_0_s", "list_0_s", None),
    Promise("share of bare rsync in a walk that looks ahead and verifies", "bare_100_s", "walk_100_s", None),
)


@dataclass
class Bench:
    """A source, a copy of it through the driver and its agent, and one by bare rsync."""

    top: Path
    driver: RsyncDriver
    run: CopyRun
    listings: Listings
    runs: count[int]
    last: RunFiles

    async def by_list(self) -> None:
        """As a run by changes does."""
        files = RunFiles("task", str(next(self.runs)))
        walked, found = await asyncio.to_thread(self._compare, files)
        run = replace(self.run, changes=self.listings.changes(files))
        result = await self.driver.copy(run, lambda progress: None)
        assert result.files_considered == found.looked_at
        assert await self.driver.verify(run, sample=walked.sample) == ()
        self.last = files
        self.listings.drop_all_but(files)

    def _compare(self, files: RunFiles) -> tuple[Walked, Compared]:
        return self.listings.compare(self.last, files, self.run, datetime.now(UTC))

    async def by_walk(self) -> None:
        """As a run that walks does."""
        files = RunFiles("task", str(next(self.runs)))
        await self.driver.preview(self.run, most=0)
        result = await self.driver.copy(self.run, lambda progress: None)
        walked = await asyncio.to_thread(self.listings.walk, files, self.run, datetime.now(UTC), keeps=True)
        assert result.files_considered == walked.names
        assert await self.driver.verify(self.run, sample=walked.sample) == ()
        self.last = files
        self.listings.drop_all_but(files)

    async def bare(self) -> None:
        """Neither agent nor verification."""
        argv = ["rsync", *ATTRIBUTES, f"{self.run.source}/", f"{self.top}/bare/"]
        await asyncio.to_thread(subprocess.run, argv, check=True)

    def change(self, changed: int, seed: int) -> None:
        """Write some files anew, spread over all folders, longer ago than the second that counts as doubtful."""
        folders = sorted(Path(self.run.source).iterdir())
        for number in range(changed):
            path = folders[number * len(folders) // changed] / str((seed + number) % A_FOLDER)
            path.write_bytes(os.urandom(FILE_BYTES))
        time.sleep(1.1)


async def main(files: int, rounds: int) -> None:
    """Measure, print and keep."""
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    top = Path(tempfile.mkdtemp(prefix="tree-changes-", dir="/dev/shm"))
    try:
        bench = await prepare(top, files)
        seeds = count(1)

        async def timed(act: Callable[[], object], changed: int) -> Mapping[str, float]:
            bench.change(changed, next(seeds))
            begun_s = time.monotonic()
            await act()  # type: ignore[misc]
            took_s = time.monotonic() - begun_s
            for other in (bench.by_walk, bench.bare):  # so that the next way finds all of them equal
                await other()
            for name in ("replica", "bare"):
                argv = ["diff", "-rq", bench.run.source, str(top / name)]
                await asyncio.to_thread(subprocess.run, argv, check=True)
            return {"s": took_s}

        ways: dict[str, Way] = {}
        for changed in (0, CHANGED):
            for name, act in (("list", bench.by_list), ("walk", bench.by_walk), ("bare", bench.bare)):
                ways[f"{name}_{changed}"] = lambda act=act, changed=changed: timed(act, changed)  # type: ignore[misc]
        figures = await take_turns(rounds, ways)
        await bench.driver.stop_agent()
    finally:
        shutil.rmtree(top)
    about = {"measured_at": datetime.now(UTC).date().isoformat(), "kernel": platform.release()}
    about |= {"rsync": rsync_version(), "load_at_start": load}
    about |= {"files": str(files), "processors": str(os.cpu_count())}
    keep("tree_changes", about, figures, PROMISES)


def rsync_version() -> str:
    """As it says itself."""
    return subprocess.run(["rsync", "--version"], check=True, capture_output=True, text=True).stdout.partition("\n")[0]


async def prepare(top: Path, files: int) -> Bench:
    """The tree, both copies of it, and its listing."""
    for name in ("source", "replica", "bare", "state", "run"):
        (top / name).mkdir()
    for folder in range(max(files // A_FOLDER, 1)):
        (top / "source" / str(folder)).mkdir()
        for number in range(A_FOLDER):
            (top / "source" / str(folder) / str(number)).write_bytes(os.urandom(FILE_BYTES))
    host = Host("a", SystemCommands(), KernelFs(), SystemClock(), top / "state", top / "run")
    driver = await open_driver(Settings(), host)
    agent, password = AgentSpec("127.0.0.1", free_port()), Secret("only for benchmarks")
    await driver.start_agent(agent, (ReplicaShare("docs", str(top / "replica"), "copier", password, ("127.0.0.1",)),))
    run = CopyRun(str(top / "source"), agent, "docs", "copier", password)
    bench = Bench(top, driver, run, Listings(top / "listings"), count(1), RunFiles("task", "0"))
    await asyncio.sleep(1.1)
    await bench.by_walk()
    await bench.bare()
    return bench


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    asyncio.run(main(*given, *(FILES, ROUNDS)[len(given) :]))
