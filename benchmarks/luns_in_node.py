"""Runs inside a node as root: many LUNs taken over, made, left alone and churned, by the driver and by other means.

    python -m benchmarks.luns_in_node COUNT CHURN

The last line printed is the figures, as JSON. `/dev/ram0` to `/dev/ram{COUNT-1}` must be there and unused.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from holdfast.hooks.base import Host
from holdfast.hooks.target import InitiatorAccess, LogicalUnit, Portal, TargetSpec, TargetState
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast_iscsi_lio.driver import LioTargets
from holdfast_iscsi_lio.plugin import Plugin
from holdfast_iscsi_lio.settings import Settings
from holdfast_iscsi_lio.tree import CORE, ISCSI

ROUNDS = 7
SAVED = "/run/luns.json"
CLIENT = "iqn.2026-01.org.holdfast.bench:client"


def spec_of(count: int) -> TargetSpec:
    """A target with so many units on memory disks, for one initiator."""
    units = tuple(LogicalUnit(n, f"u{n}", f"/dev/ram{n}", f"{n:032x}") for n in range(count))
    return TargetSpec(
        "bench", "iqn.2026-01.org.holdfast.bench:t", (Portal("127.0.0.1"),), units, (InitiatorAccess(CLIENT),)
    )


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds that it takes."""
    begun_s = time.perf_counter()
    await work()
    return time.perf_counter() - begun_s


def served(spec: TargetSpec) -> None:
    """Fail unless the kernel maps every unit to the initiator."""
    acl = f"{ISCSI}/{spec.iqn}/tpgt_1/acls/{CLIENT}"
    mapped = [name for name in os.listdir(acl) if name.startswith("lun_")]
    assert len(mapped) == len(spec.units), f"{len(mapped)} of {len(spec.units)}"
    assert Path(f"{ISCSI}/{spec.iqn}/tpgt_1/enable").read_text().strip() == "1"


def raw_activate(spec: TargetSpec) -> None:
    """The least that any program must do once all is staged: open each device, link it, map it, and let logins in."""
    stores = {
        name.rpartition("-")[2] if "-" in name else name.partition(".")[2]: f"{CORE}/{hba}/{name}"
        for hba in os.listdir(CORE)
        if hba.startswith("iblock_")
        for name in os.listdir(f"{CORE}/{hba}")
        if name not in ("hba_info", "hba_mode")
    }
    tpg = f"{ISCSI}/{spec.iqn}/tpgt_1"
    for unit in spec.units:
        store = stores[unit.name]
        _write(f"{store}/enable", "1")
        Path(f"{tpg}/lun/lun_{unit.lun}/backstore").symlink_to(store)
        Path(f"{tpg}/acls/{CLIENT}/lun_{unit.lun}/mapped").symlink_to(f"{tpg}/lun/lun_{unit.lun}")
    _write(f"{tpg}/enable", "1")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, text.encode())
    os.close(descriptor)


RTSLIB = """
import sys, time
from rtslib_fb import RTSRoot
root = RTSRoot()
what, path = sys.argv[1:3]
if what == "save":
    root.save_to_file(path)
elif what == "clear":
    root.clear_existing(confirm=True)
else:
    begun = time.perf_counter()
    errors = root.restore_from_file(path, clear_existing=False)
    print(time.perf_counter() - begun)
    assert not errors, errors[:3]
"""

RTSLIB_CHURN = """
import sys, time
from rtslib_fb import BlockStorageObject, FabricModule, LUN, MappedLUN, NetworkPortal, NodeACL, TPG, Target
begun = time.perf_counter()
target = Target(FabricModule("iscsi"), sys.argv[1]); tpg = TPG(target, 1); acl = NodeACL(tpg, sys.argv[2])
tpg.set_attribute("authentication", "0"); NetworkPortal(tpg, "127.0.0.1", 3260); tpg.enable = True
made = []
for n in range(int(sys.argv[3])):
    store = BlockStorageObject(f"u{n}", dev=f"/dev/ram{n}", wwn=f"{n:032x}")
    lun = LUN(tpg, n, store); MappedLUN(acl, n, lun); made.append((store, lun))
if len(sys.argv) > 4:
    sys.exit(0)
for store, lun in reversed(made):
    lun.delete(); store.delete()
target.delete()
print(time.perf_counter() - begun)
"""


def rtslib(script: str, *arguments: str) -> float:
    """Run a script of rtslib in the system's own Python; the seconds that it printed, without its start."""
    argv = ["/usr/bin/python3", "-c", script, *arguments]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    return float(done.stdout or 0)


def targetcli_churn(spec: TargetSpec, count: int) -> float:
    """One process for each change, as scripts do it: make and delete so many LUNs."""
    # It asks the system bus for user-space backstores, and fails without one.
    Path("/run/dbus").mkdir(exist_ok=True)
    subprocess.run(["dbus-daemon", "--system", "--fork", "--nopidfile"], check=True, timeout=30)
    (Path.home() / ".targetcli").mkdir(parents=True, exist_ok=True)
    target = f"/iscsi/{spec.iqn}"
    commands = [f"/iscsi create {spec.iqn}", f"{target}/tpg1/acls create {CLIENT} add_mapped_luns=false"]
    for n in range(count):
        commands += [
            f"/backstores/block create name=u{n} dev=/dev/ram{n} wwn={n:032x}",
            f"{target}/tpg1/luns create /backstores/block/u{n} lun={n} add_mapped_luns=false",
            f"{target}/tpg1/acls/{CLIENT} create mapped_lun={n} tpg_lun_or_backstore={n}",
        ]
    for n in reversed(range(count)):
        commands += [f"{target}/tpg1/luns delete {n}", f"/backstores/block delete u{n}"]
    commands.append(f"/iscsi delete {spec.iqn}")
    begun_s = time.perf_counter()
    for command in commands:
        done = subprocess.run(["targetcli", command], check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
    return time.perf_counter() - begun_s


async def churn(driver: LioTargets, spec: TargetSpec, count: int) -> list[float]:
    """Make LUN after LUN on a target that serves, then take them away: the seconds of each."""
    await driver.activate(replace(spec, units=()))
    sizes = [*range(1, count + 1), *range(count - 1, -1, -1)]
    took = []
    for size in sizes:
        wanted = replace(spec, units=spec.units[:size])
        took.append(await timed(lambda wanted=wanted: driver.activate(wanted)))  # type: ignore[misc]
    await driver.remove(spec.name, spec.iqn)
    return took


async def measure(count: int, churned: int, state: Path) -> None:
    """Print the figures."""
    host = Host("here", SystemCommands(), KernelFs(), SystemClock(), state, state)
    driver = await Plugin().target_driver().open(Settings(deadline_s=300.0), host)
    assert isinstance(driver, LioTargets)
    spec = spec_of(count)
    figures: dict[str, float] = {"luns": count, "churned_luns": churned}

    figures["stage_s"] = await timed(lambda: driver.stage(spec))
    ours, raw, idle = [], [], []
    for _ in range(ROUNDS):
        await driver.stage(spec)
        ours.append(await timed(lambda: driver.activate(spec)))
        served(spec)
        idle.append(await timed(lambda: driver.activate(spec)))
        await driver.deactivate(spec.name, spec.iqn)
        begun_s = time.perf_counter()
        raw_activate(spec)
        raw.append(time.perf_counter() - begun_s)
        served(spec)
        await driver.deactivate(spec.name, spec.iqn)
    figures |= {"takeover_s": median(ours), "takeover_raw_s": median(raw), "no_op_s": median(idle)}
    # The very first one finds memory and the kernel's caches cold; so does none of the others.
    figures |= {"takeover_first_s": ours[0], "takeover_slowest_s": max(ours), "takeover_raw_slowest_s": max(raw)}
    await driver.remove(spec.name, spec.iqn)
    figures["make_s"] = await timed(lambda: driver.activate(spec))
    served(spec)
    assert await driver.state(spec) is TargetState.ACTIVE
    await driver.remove(spec.name, spec.iqn)
    rtslib(RTSLIB_CHURN, spec.iqn, CLIENT, str(count), "leave it")
    served(spec)
    rtslib(RTSLIB, "save", SAVED)
    rtslib(RTSLIB, "clear", SAVED)
    figures["takeover_rtslib_s"] = rtslib(RTSLIB, "restore", SAVED)
    served(spec)
    rtslib(RTSLIB, "clear", SAVED)

    took = await churn(driver, spec, churned)
    # Of one LUN the time is chance: the first five and the last five.
    figures |= {
        "churn_s": sum(took),
        "churn_first_s": median(took[:5]),
        "churn_last_s": median(took[churned - 5 : churned]),
    }
    figures["churn_rtslib_s"] = rtslib(RTSLIB_CHURN, spec.iqn, CLIENT, str(churned))
    sys.stderr.write(f"{figures}\n")
    figures["churn_targetcli_s"] = targetcli_churn(spec, min(churned, 10)) / min(churned, 10) * churned
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def main() -> None:
    """Make what rtslib wants to be there, and measure."""
    state = Path("/run/bench")
    for directory in (state, Path("/etc/target/pr"), Path("/etc/target/backup")):
        directory.mkdir(parents=True, exist_ok=True)
    asyncio.run(measure(int(sys.argv[1]), int(sys.argv[2]), state))


if __name__ == "__main__":
    main()
