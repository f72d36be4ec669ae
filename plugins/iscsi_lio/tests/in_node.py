"""Drives the real driver inside a lab node: operations in, what came of each out, all as JSON.

Each line of standard input is `{"spec": …, "deadline_s": …, "operations": ["stage", …]}`, for which a driver is opened.
Each line printed is `{"operation", "took_s", "result" or "error", "message", "reasons"}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.hooks.base import Host
from holdfast.hooks.target import Chap, Reservations, TargetDriver, TargetSpec
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.values import from_plain, to_plain
from holdfast_iscsi_lio.plugin import Plugin
from holdfast_iscsi_lio.settings import Settings


async def operate(driver: TargetDriver, spec: TargetSpec, operation: str) -> Any:
    word, _, argument = operation.partition(" ")
    match word:
        case "close":
            return await driver.close_sessions(spec.iqn, argument)
        case "discovery":
            return await driver.set_discovery(from_plain(Chap, json.loads(argument)) if argument else None)
        case "read_reservations":
            return await driver.read_reservations([unit.serial for unit in spec.units])
        case "keep":
            return await driver.keep_reservations(from_plain(Reservations, json.loads(argument)))
        case "stage" | "activate" | "state":
            return await getattr(driver, operation)(spec)
        case "deactivate" | "remove":
            return await getattr(driver, operation)(spec.name, spec.iqn)
        case "list_sessions" | "read":
            return await getattr(driver, operation)(spec.iqn)
        case "list_iqns":
            return await driver.list_iqns()
    raise ValueError(operation)


async def main() -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        await obey(json.loads(line))


async def obey(order: dict[str, Any]) -> None:
    spec = from_plain(TargetSpec, order["spec"])
    host = Host("here", SystemCommands(), KernelFs(), SystemClock(), Path("/run"), Path("/run"))
    driver = await Plugin().target_driver().open(Settings(order["deadline_s"]), host)
    for operation in order["operations"]:
        begun_s = time.perf_counter()
        answer: dict[str, Any] = {"operation": operation}
        try:
            answer["result"] = to_plain(await operate(driver, spec, operation))
        except HoldfastError as error:
            answer |= {"error": type(error).__name__, "message": error.message}
            answer["reasons"] = [reason.text for reason in error.reasons]
        answer["took_s"] = round(time.perf_counter() - begun_s, 4)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
