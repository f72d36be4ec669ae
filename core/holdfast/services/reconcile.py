"""Bring reality back to intent: at start, and then now and again. What cannot be mended is reported, never hidden."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.hooks.base import Can
from holdfast.hooks.replication import ConnectionState
from holdfast.hooks.volume import VolumeKind
from holdfast.planning.mirror_alerts import has_lost_a_disk
from holdfast.services.copies.replicas import Replicas
from holdfast.services.documents import GroupDocument, MirrorDocument
from holdfast.services.drivers import Drivers
from holdfast.services.events import Events
from holdfast.services.groups.groups import Groups
from holdfast.services.groups.plans import Plans
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.behind import why_held
from holdfast.services.mirrors.history import MirrorHistories
from holdfast.services.mirrors.mounts import MirrorMounts
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.mirrors.split_brain import SplitBrains
from holdfast.services.nodes.maintenance import Maintenance
from holdfast.services.partner import PartnerLink
from holdfast.services.pools.pools import Pools
from holdfast.services.pools.thin import ThinPools
from holdfast.services.shares.accounts import ShareAccounts
from holdfast.services.shares.offers import ShareOffers
from holdfast.services.shares.snapshots import ShareSnapshots
from holdfast.services.snapshots.mounts import SnapshotMounts
from holdfast.services.targets.discovery import Discovery
from holdfast.services.targets.jobs import TargetJobs
from holdfast.services.volumes.volumes import Volumes
from holdfast.services.worm.keeper import WormKeeper
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock

log = logging.getLogger(__name__)

EVERY_S = 30.0


class Reconciler:
    """Mends what does not survive a reboot. What a running group owns is its monitor's, and only reported."""

    def __init__(
        self,
        *,
        pools: Pools,
        thin_pools: ThinPools,
        volumes: Volumes,
        worm: WormKeeper,
        snapshots: SnapshotMounts,
        replicas: Replicas,
        share_accounts: ShareAccounts,
        share_offers: tuple[ShareOffers[Any], ...],
        share_snapshots: ShareSnapshots,
        sides: MirrorSides,
        mounts: MirrorMounts,
        split_brains: SplitBrains,
        histories: MirrorHistories,
        groups: Groups,
        maintenance: Maintenance,
        targets: TargetJobs,
        discovery: Discovery,
        mirror_documents: Intents[MirrorDocument],
        group_documents: Intents[GroupDocument],
        plans: Plans,
        partner: PartnerLink,
        jobs: Jobs,
        drivers: Drivers,
        events: Events,
        clock: Clock,
    ) -> None:
        self._pools = pools
        self._thin_pools = thin_pools
        self._volumes = volumes
        self._worm = worm
        self._snapshots = snapshots
        self._replicas = replicas
        self._share_accounts = share_accounts
        self._share_offers = share_offers
        self._share_snapshots = share_snapshots
        self._sides = sides
        self._mounts = mounts
        self._split_brains = split_brains
        self._histories = histories
        self._groups = groups
        self._maintenance = maintenance
        self._targets = targets
        self._discovery = discovery
        self._mirrors = mirror_documents
        self._group_documents = group_documents
        self._plans = plans
        self._partner = partner
        self._jobs = jobs
        self._drivers = drivers
        self._events = events
        self._clock = clock
        self._reported: set[str] = set()
        self.drift: tuple[str, ...] = ()
        """What differs from intent and could not be mended, in sentences, as of the last pass."""

    async def once(self) -> None:
        """One pass over everything. One thing that fails keeps no other from being served."""
        drift: list[str] = []
        if self._drivers.has("volume"):
            await self._try(drift, "pools", self._pools.activate)
            await self._try(drift, "thin pools", self._thin_pools.look_after_all)
            await self._try(drift, "file systems", self._mount)
            await self._try(drift, "write once", self._watch_worm)
            await self._try(drift, "snapshots", self._mount_snapshots)
        if self._drivers.has("copy"):
            await self._try(drift, "agent", self._replicas.apply)
        if self._drivers.has("mirror"):
            await self._try(drift, "mirrors", self._connect_lone_mirrors)
            await self._try(drift, "mirrored file systems", self._mount_mirrored)
        if self._drivers.has("volume"):
            await self._try(drift, "snapshots that shares show", self._show_snapshots)
        await self._offer_shares(drift)
        if self._drivers.has("target"):
            if Can.TARGET_DISCOVERY in self._drivers.target().can:
                await self._try(drift, "discovery", self._discovery.apply)
            await self._try(drift, "targets", self._serve)
        if self._drivers.has("failover"):
            if self._partner.is_paired:
                await self._try(drift, "maintenance of the partner", self._maintenance.refresh, is_expected=True)
                await self._try(drift, "groups changed on the partner", self._adopt_groups, is_expected=True)
            await self._try(drift, "failover plan", self._plans.write)
        self.drift = tuple(drift)
        for text in set(drift) - self._reported:
            log.warning("drift: %s", text)
            await self._events.emit("drift", "node:this", {"text": text})
        self._reported = set(drift)

    async def forever(self) -> None:
        """Pass after pass until cancelled; the next one comes soon when what a job kept from this one is free."""
        while True:
            freed = self._jobs.locks.freed
            waits = [asyncio.ensure_future(wait) for wait in (self._clock.sleep(EVERY_S), freed.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waits:
                    each.cancel()
            freed.clear()
            await self.once()

    async def _try(
        self, drift: list[str], what: str, act: Callable[[], Awaitable[None]], *, is_expected: bool = False
    ) -> None:
        try:
            await act()
        except HoldfastError as reason:
            if not is_expected:  # a partner that is away is shown where the partner is, and is no drift
                drift.append(f"{what}: {reason.message}")
        except Exception as reason:  # the others must be served all the same
            log.exception("reconciling %s failed unexpectedly", what)
            drift.append(f"{what}: {type(reason).__name__}: {reason}")

    async def _mount(self) -> None:
        failed = await self._volumes.mount_all()
        if failed:
            raise HoldfastError("; ".join(failed))

    async def _watch_worm(self) -> None:
        if failed := await self._worm.look_after():
            raise HoldfastError("; ".join(failed))

    async def _mount_snapshots(self) -> None:
        if failed := await self._snapshots.restore():
            raise HoldfastError("; ".join(failed))

    async def _show_snapshots(self) -> None:
        if failed := await self._share_snapshots.restore():
            raise HoldfastError("; ".join(failed))

    async def _offer_shares(self, drift: list[str]) -> None:
        if self._drivers.has("smb"):
            await self._try(drift, "share users and groups", self._share_accounts.restore)
        for offers in self._share_offers:
            if self._drivers.has(offers.protocol):
                await self._try(drift, f"shares over {offers.protocol.upper()}", partial(self._offer, offers))

    @staticmethod
    async def _offer(offers: ShareOffers[Any]) -> None:
        if failed := await offers.restore():
            raise HoldfastError("; ".join(failed))

    async def _serve(self) -> None:
        failed = await self._targets.serve_all()
        if failed:
            raise HoldfastError("; ".join(failed))

    async def _connect_lone_mirrors(self) -> None:
        groups = (await self._group_documents.all()).values()
        grouped = {group.mirror for group in groups if group.is_started}
        not_mended = []
        for document in (await self._mirrors.all()).values():
            status = await self._sides.status(document.name)
            is_apart = status.is_up and status.connection is ConnectionState.STANDALONE
            if is_apart and document.is_started and await self._split_brains.look(document.name):
                not_mended.append(f"the sides of {document.name} have diverged, and a person must choose the survivor")
            elif self._jobs.locks.must_pass_over(f"mirror:{document.name}"):
                continue  # it is the job's, which may just be taking it apart
            elif document.name in grouped:
                continue  # it is the monitor's
            elif has_lost_a_disk(status):
                not_mended.append(f"{document.name} has lost a disk here, which is not attached again by itself")
            elif held := await why_held(status, self._histories, self._partner):
                not_mended.append(f"{held.text}: {held.remedy}")
            elif document.is_started or any(m.kind is VolumeKind.NAS for m in document.members):
                # A stopped mirror's file system is still served.
                await self._jobs.locks.mend(f"mirror:{document.name}", partial(self._sides.bring_back, document.name))
        if not_mended:
            raise HoldfastError("; ".join(not_mended))

    async def _mount_mirrored(self) -> None:
        if failed := await self._mounts.restore():
            raise HoldfastError("; ".join(failed))

    async def _adopt_groups(self) -> None:
        for name in await self._groups.adopt_newer():
            log.info("the group %s was changed on the partner while this node was away; its revision was adopted", name)
