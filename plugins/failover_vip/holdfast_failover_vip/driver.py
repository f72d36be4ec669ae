"""The daemon's half: checks what this plugin owns on the node, and talks to the monitor."""

from __future__ import annotations

import asyncio
from pathlib import Path

from holdfast.errors import BusyError, ConfirmationError, HoldfastError, Reason
from holdfast.hooks.base import Can, Host
from holdfast.hooks.failover import (
    Decision,
    FailoverDriver,
    GroupPlan,
    GroupState,
    MonitorHost,
    MonitorPlan,
    MonitorStatus,
    Unmet,
)
from holdfast.hooks.forecast import Forecast
from holdfast.values import from_plain
from holdfast_failover_vip import control
from holdfast_failover_vip.facts import GroupView
from holdfast_failover_vip.forecast import forecast
from holdfast_failover_vip.journal import Journal
from holdfast_failover_vip.monitor import Monitor
from holdfast_failover_vip.preflight import check_addresses, check_nics
from holdfast_failover_vip.settings import Settings

S = GroupState

QUICK_S = 5.0


async def open_driver(settings: Settings, host: Host) -> FailoverDriver:
    """See Offer.open."""
    return VipFailover(settings, host)


def journal_path(state_dir: Path) -> Path:
    """Where the monitor keeps its decisions."""
    return state_dir / "decisions.jsonl"


class VipFailover(FailoverDriver):
    """Failover by heartbeats, ping nodes and virtual addresses."""

    can = frozenset({Can.FAILOVER_TAKEOVER})

    def __init__(self, settings: Settings, host: Host) -> None:
        self._settings = settings
        self._host = host
        self._socket = control.socket_path(host.run_dir)

    async def preflight(self, plan: MonitorPlan, group: GroupPlan) -> tuple[Unmet, ...]:
        """See FailoverDriver."""
        status = await self.status()
        found = list(judge_status(status, plan))
        if not plan.ping_nodes:
            found.append(Unmet("no-ping-node", "no ping node is set", "set one with PUT /v1/failover"))
        if len(plan.links) < 2:
            text = f"{len(plan.links)} links carry heartbeats, and two are needed: the loss of one proves nothing"
            found.append(Unmet("links", text, "set two or more with PUT /v1/failover"))
        found += await check_nics(plan, group)
        found += await check_addresses(plan, group)
        return tuple(found)

    async def plan_written(self) -> None:
        """See FailoverDriver."""
        await control.ask(self._socket, "reload", timeout_s=QUICK_S)

    async def status(self) -> MonitorStatus:
        """See FailoverDriver."""
        try:
            return from_plain(MonitorStatus, await control.ask(self._socket, "status", timeout_s=QUICK_S))
        except HoldfastError:
            return MonitorStatus(is_running=False)

    async def switch_over(self, group: str, *, to: str, deadline_s: float) -> None:
        """See FailoverDriver."""
        arguments = {"group": group, "to": to, "deadline_s": deadline_s}
        await control.ask(self._socket, "switch-over", timeout_s=deadline_s + QUICK_S, **arguments)

    async def grant_promotion(self, name: str, *, confirm: str) -> None:
        """See FailoverDriver."""
        if confirm != name:
            text = f"this may serve older data of {name} than its partner holds"
            raise ConfirmationError(
                text, reasons=[Reason("confirm", text, f"repeat it with confirm={name}", "confirm")]
            )
        await control.ask(self._socket, "grant", timeout_s=QUICK_S, name=name)

    async def forecast(self, group: str) -> tuple[Forecast, ...]:
        """See Forecaster. Played here: the monitor must not be kept from its heartbeats."""
        view = from_plain(GroupView, await control.ask(self._socket, "view", timeout_s=QUICK_S, group=group))
        if S.PROMOTING in (view.state, view.peer.state if view.peer and view.net.is_heard else None):
            raise BusyError(f"the group {group} is being taken over or moved: ask again in a moment")
        return await asyncio.to_thread(forecast, view, self._settings.timers)

    async def decisions(self, *, after: int = 0) -> tuple[tuple[int, Decision], ...]:
        """See FailoverDriver."""
        return await asyncio.to_thread(Journal(journal_path(self._host.state_dir)).read, after)

    async def run_monitor(self, host: MonitorHost) -> None:
        """See FailoverDriver."""
        await Monitor(self._settings, self._host, host, Journal(journal_path(self._host.state_dir))).run()


def judge_status(status: MonitorStatus, plan: MonitorPlan) -> tuple[Unmet, ...]:
    """What the monitor's own view says against a start."""
    if not status.is_running:
        return (Unmet("monitor", "the failover monitor does not answer", "start holdfast-monitor on this node"),)
    found = []
    if not status.peer_heard:
        text = f"the monitor of {plan.partner} is not heard"
        found.append(Unmet("partner-monitor", text, f"start holdfast-monitor on {plan.partner}, and mend the links"))
    for link in status.links:
        if not link.is_up:
            found.append(Unmet("link-down", f"the link {link.name} does not carry both ways", "mend the link"))
    if status.witness is not None and not status.witness.answers:
        text = f"the witness {status.witness.address} does not answer"
        remedy = "start holdfast-witness there with both nodes' certificates, or do without: PUT /v1/failover"
        found.append(Unmet("witness", text, remedy))
    silent = [node.address for node in status.ping_nodes if not node.answers]
    # As in a takeover: the majority that answers is enough, and the group's reasons name the others.
    if 2 * len(silent) >= max(len(plan.ping_nodes), 1):
        for address in silent:
            text = f"the ping node {address} does not answer"
            found.append(Unmet("ping-node", text, "name a third system that answers ICMP, or bring it back"))
    return tuple(found)
