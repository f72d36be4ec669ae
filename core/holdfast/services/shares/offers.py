"""Shares offered to clients: wanted, actual, and the difference applied. One service for each protocol."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from holdfast.errors import HoldfastError, NotFoundError, Reason, UnavailableError
from holdfast.hooks.share import NfsExposure, ShareDriver, ShareSession, ShownSnapshot, SmbExposure
from holdfast.loading.discovery import PluginHooks
from holdfast.planning.share_differences import differences
from holdfast.planning.share_snapshots import Seen
from holdfast.services.copies.replica_documents import ReplicaShareDocument
from holdfast.services.copies.replicas import Closed
from holdfast.services.jobs import Jobs
from holdfast.services.shares.holding import holding, refuse_if_held
from holdfast.services.shares.shares import Shares
from holdfast.services.shares.snapshots import ShareSnapshots
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.values import from_plain, to_plain

log = logging.getLogger(__name__)

E = TypeVar("E", SmbExposure, NfsExposure)
X = TypeVar("X", SmbExposure, NfsExposure, covariant=True)


class Offer(Protocol[X]):
    """A document of this service."""

    @property
    def share(self) -> str: ...  # noqa: D102

    def exposure(self, path: str, snapshots: tuple[ShownSnapshot, ...] | None, *, is_replica: bool) -> X:
        """What is asked of the driver."""
        ...


@dataclass(frozen=True)
class OfferView(Generic[E]):
    """How a share is offered."""

    share: str
    wanted: Any
    """The document."""
    actual: E | None
    """What the protocol's server says; None while it offers nothing of the kind."""
    is_replica: bool
    """It is a destination of replication, and read-only for everybody else as long as it is one."""
    drift: tuple[str, ...]
    snapshots: tuple[Seen, ...] | None
    """What its clients see of them; None where it shows none."""


class ShareOffers(Generic[E]):
    """Offers shares, changes and withdraws that, and says who uses them."""

    def __init__(
        self,
        protocol: str,
        document: type[Any],
        kept: Intents[Any],
        shares: Shares,
        replicas: Intents[ReplicaShareDocument],
        jobs: Jobs,
        driver: Callable[[], ShareDriver[E]],
        hooks: PluginHooks,
        snapshots: ShareSnapshots,
    ) -> None:
        self.protocol = protocol
        self._document = document
        self._kept = kept
        self._shares = shares
        self._replicas = replicas
        self._jobs = jobs
        self._driver: Callable[[], ShareDriver[E]] = driver
        self._hooks = hooks
        self._snapshots = snapshots
        self._is_closed: Closed = _never
        self._applying = asyncio.Lock()
        record, apply = Step("record", self._record, self._restore), Step("apply", self._apply)
        jobs.define(JobDefinition(f"{protocol}-offer.set", (record, apply)))
        forget = Step("forget", self._forget, self._restore)
        jobs.define(JobDefinition(f"{protocol}-offer.delete", (forget, apply)))
        shares.ask_before_delete(self.why_kept)
        snapshots.show_by(self)

    def free_where(self, is_closed: Closed) -> None:
        """Let clients write to replica shares that take no copy, by their names: their node has taken over."""
        self._is_closed = is_closed

    # --- what is ---

    async def get(self, share: str) -> OfferView[E]:
        """How one share is offered. Raises NotFoundError when it is not wanted to be."""
        document = await self._kept.get(share)
        actual = next((shown for shown in await self._driver().list_exposures() if shown.share == share), None)
        is_replica = await self._is_replica(share)
        try:
            drift = differences(await self._exposure(document), actual)
        except (NotFoundError, UnavailableError) as reason:
            drift = (reason.message,)
        seen = None
        if document.shows_snapshots:
            seen = await self._snapshots.seen(share, why_none=self._why_no_snapshots(is_replica=is_replica))
        return OfferView(share, document, actual, is_replica, drift, seen)

    async def showing(self) -> frozenset[str]:
        """The shares that are wanted to show snapshots."""
        return frozenset(name for name, document in (await self._kept.all()).items() if document.shows_snapshots)

    async def _exposure(self, document: Any) -> E:
        """What is asked of the driver. Raises UnavailableError while the volume is not mounted."""
        share: str = document.share
        directory, is_replica = str(await self._shares.directory(share)), await self._is_replica(share)
        snapshots = None
        if document.shows_snapshots and self._why_no_snapshots(is_replica=is_replica) is None:
            snapshots = await self._snapshots.shown(share)
        exposure: E = document.exposure(directory, snapshots, is_replica=is_replica)
        return exposure

    def _why_no_snapshots(self, *, is_replica: bool) -> str | None:
        """A folder for them cannot be where a copy comes in: what the source lacks is deleted there."""
        if is_replica and self.protocol == "nfs":
            return "the share is a destination of replication, in which no folder is made"
        return None

    async def kept(self, share: str) -> Any:
        """The document of one share, or None."""
        found = await self._kept.find(share)
        return found.document if found else None

    async def is_offered(self, share: str) -> bool:
        """Whether a share is wanted to be offered by this protocol."""
        return await self._kept.find(share) is not None

    async def sessions(self, share: str) -> tuple[ShareSession, ...]:
        """Who uses a share by this protocol; nobody where it is not offered by it."""
        if not await self.is_offered(share):
            return ()
        return tuple(session for session in await self._driver().list_sessions() if session.share == share)

    async def why_kept(self, share: str) -> tuple[Reason, ...]:
        """Why a share is not to be removed: it is offered, and who holds it."""
        if not await self.is_offered(share):
            return ()
        verb = f"stop that with DELETE /v1/shares/{share}/{self.protocol}"
        reason = Reason("in-use", f"the share {share} is offered by {self.protocol.upper()}", verb)
        return (reason, *(holding(session) for session in await self.sessions(share)))

    # --- changes ---

    async def offer(
        self, document: Any, *, refuse: Callable[[], Awaitable[None]] | None = None, validate_only: bool
    ) -> str | None:
        """Offer a share, or change how it is offered; `refuse` raises for lists that name nobody who exists."""
        share = document.share
        before = await self._kept.find(share)

        async def check() -> None:
            await self._shares.directory(share)
            self._driver()
            if refuse is not None:
                await refuse()

        if validate_only:
            await check()
            return None
        parameters = {"share": share, "document": to_plain(document), "before": _plain(before)}
        return await self._jobs.start(f"{self.protocol}-offer.set", f"share:{share}", parameters, check=check)

    async def withdraw(self, share: str, *, is_confirmed: bool, validate_only: bool) -> str | None:
        """Offer a share no more. Refused, naming them, while clients hold files open, unless it is confirmed."""
        before = await self._kept.find(share)

        async def check() -> None:
            await self._kept.get(share)
            if not is_confirmed:
                refuse_if_held(share, await self.sessions(share))

        if validate_only or before is None:
            await check()
            return None
        parameters = {"share": share, "document": None, "before": _plain(before)}
        return await self._jobs.start(f"{self.protocol}-offer.delete", f"share:{share}", parameters, check=check)

    # --- bringing reality to intent ---

    async def apply(self, share: str) -> None:
        """Have one share offered as wanted, or not at all. A volume that is not mounted is offered to nobody."""
        # One after the other: what was read before a snapshot left must not be told to the driver after that.
        async with self._applying:
            await self._apply_now(share)

    async def _apply_now(self, share: str) -> None:
        kept = await self._kept.find(share)
        if kept is None:
            await self._driver().withdraw(share)
            return
        try:
            exposure = await self._exposure(kept.document)
        except (NotFoundError, UnavailableError):
            await self._driver().withdraw(share)
            raise
        await self._driver().expose(exposure)

    async def apply_if_offered(self, share: str) -> None:
        """The same for a share that may not be offered by this protocol, whose plugin may not be there."""
        if await self.is_offered(share):
            await self.apply(share)

    async def restore(self) -> tuple[str, ...]:
        """Apply every difference, as after a boot; return in sentences what could not be."""
        wanted: tuple[str, ...] = tuple(await self._kept.all())
        surplus: set[str] = {shown.share for shown in await self._driver().list_exposures()} - set(wanted)
        failed = []
        for share in (*wanted, *sorted(surplus)):
            try:
                await self._jobs.locks.mend(f"share:{share}", partial(self.apply, share))
            except HoldfastError as reason:
                failed.append(f"the share {share} is not offered by {self.protocol.upper()}: {reason.message}")
        return tuple(failed)

    async def why_held(self, volume: str) -> tuple[Reason, ...]:
        """Which clients hold files of a volume open."""
        shares = await self._of_volume(volume)
        return tuple([holding(s) for share in shares for s in await self.sessions(share) if s.files])

    async def release(self, volume: str) -> None:
        """Let go of a volume that is about to be unmounted. Its clients lose it until `take_up`."""
        for share in await self._of_volume(volume):
            await self._driver().withdraw(share)

    async def take_up(self, volume: str) -> None:
        """Offer what lies on a volume again. What fails is the reconciler's to tell."""
        for share in await self._of_volume(volume):
            try:
                await self.apply(share)
            except HoldfastError as reason:
                log.warning("the share %s is not offered by %s again: %s", share, self.protocol.upper(), reason)

    async def _of_volume(self, volume: str) -> tuple[str, ...]:
        return tuple([share for share in await self._kept.all() if (await self._shares.get(share)).volume == volume])

    async def _is_replica(self, share: str) -> bool:
        for replica in (await self._replicas.all()).values():
            if replica.share == share and not await self._is_closed(replica.name):
                return True
        return False

    # --- steps ---

    async def _record(self, job: JobContext) -> None:
        await self._kept.put(job.parameters["share"], from_plain(self._document, job.parameters["document"]))

    async def _forget(self, job: JobContext) -> None:
        await self._kept.remove(job.parameters["share"])

    async def _restore(self, job: JobContext) -> None:
        share, before = job.parameters["share"], job.parameters["before"]
        if before is None:
            await self._kept.remove(share)
        else:
            await self._kept.put(share, from_plain(self._document, before))
        await self._try_apply(job, share)

    async def _try_apply(self, job: JobContext, share: str) -> None:
        try:
            await self.apply(share)
        except HoldfastError as reason:  # the record is what counts: the reconciler goes on from it
            await job.log(f"as it was before it cannot be offered now: {reason.message}")

    async def _apply(self, job: JobContext) -> None:
        share = job.parameters["share"]
        await self.apply(share)
        for text in await self._snapshots.look_at((await self._shares.get(share)).volume):
            await job.log(text)
        await self._hooks.tell("share_changed", share=share, what=self.protocol)
        job.result = await self.get(share) if await self.is_offered(share) else None


def _plain(kept: Any) -> Any:
    return None if kept is None else to_plain(kept.document)


async def _never(name: str) -> bool:
    return False
