"""Mirrors by DRBD 8.4. See MirrorDriver for what each operation promises."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial
from typing import ClassVar

from holdfast.errors import (
    BusyError,
    ConflictError,
    HoldfastError,
    NotFoundError,
    Reason,
    RefusedError,
    SystemCommandError,
    UnavailableError,
    VerificationError,
)
from holdfast.hooks.base import Can, Host
from holdfast.hooks.replication import (
    DiskState,
    FenceArbiter,
    Lineage,
    MirrorDriver,
    MirrorEndpoint,
    MirrorSpec,
    MirrorStatus,
    ReplicationState,
    Role,
    SyncLimits,
)
from holdfast_rep_block import events, first_sync, lineage, options, progress, thin, upkeep
from holdfast_rep_block.attaching import ATTACH_S, Attacher
from holdfast_rep_block.connecting import Connector
from holdfast_rep_block.drbdsetup import (
    LOWER_THAN_OUTDATED,
    TRANSIENT,
    UNKNOWN_CONNECTION,
    Drbdsetup,
    KernelRefusedError,
)
from holdfast_rep_block.fencing import FenceServer, install
from holdfast_rep_block.metadata import Metadata, largest_bytes, metadata_bytes
from holdfast_rep_block.settings import Settings
from holdfast_rep_block.zeroing import Pace, zero_device

log = logging.getLogger(__name__)

_MODPROBE_S = 30.0
# Probes of udev and blkid hold a device for an instant after it appears (failover.md, held open).
_DEMOTE_RETRY_S = 2.0
_TRANSIENT_RETRY_S = 2.0
_RETRY_EVERY_S = 0.1
_STREAM_RESTART_S = 0.5

_WORST_FIRST = (
    DiskState.DISKLESS,
    DiskState.FAILED,
    DiskState.ATTACHING,
    DiskState.DETACHING,
    DiskState.NEGOTIATING,
    DiskState.INCONSISTENT,
    DiskState.OUTDATED,
    DiskState.UNKNOWN,
    DiskState.CONSISTENT,
    DiskState.UP_TO_DATE,
)
_NO_DATA = _WORST_FIRST[: _WORST_FIRST.index(DiskState.OUTDATED)]


async def open_driver(settings: Settings, host: Host) -> DrbdMirrors:
    """See Offer.open. Loads the module and names our fence helper to it."""
    if not host.kernel.exists("/sys/module/drbd"):
        try:
            await host.commands.run(["modprobe", "drbd"], timeout_s=_MODPROBE_S)
        except SystemCommandError as reason:
            raise UnavailableError(f"the kernel module drbd could not be loaded: {reason.message}") from reason
    install(host.state_dir, host.run_dir, settings.drbdsetup, host.kernel)
    return DrbdMirrors(settings, host)


class DrbdMirrors(MirrorDriver):
    """See MirrorDriver."""

    can: ClassVar[frozenset[Can]] = frozenset(
        {Can.MIRROR_VERIFY, Can.MIRROR_SYNC_CONTROL, Can.MIRROR_GROW, Can.MIRROR_DETACH, Can.MIRROR_VOLUMES}
    )

    def __init__(self, settings: Settings, host: Host, connector: Connector | None = None) -> None:
        self._settings = settings
        self._host = host
        self._drbd = Drbdsetup(host.commands, settings.drbdsetup)
        self._metadata = Metadata(host.commands, host.kernel, host.clock, settings.drbdmeta)
        self._attacher = Attacher(self._drbd, self._metadata, settings)
        self._connector = connector or Connector()
        # Fed by the resident stream while `watch` runs, and only as fast as its consumer takes it.
        self._live: events.Picture | None = None
        # Mirrors that this process took off their peers and has not connected since.
        self._left: set[str] = set()
        self._endpoints: dict[str, tuple[MirrorEndpoint, MirrorEndpoint]] = {}

    def metadata_bytes(self, size_bytes: int) -> int:
        """See MirrorDriver."""
        return metadata_bytes(size_bytes)

    def largest_bytes(self, metadata_bytes: int) -> int:
        """See MirrorDriver."""
        return largest_bytes(metadata_bytes)

    def device_path(self, minor: int) -> str:
        """See MirrorDriver."""
        return events.device_path(minor)

    # --- metadata and data of lower devices ---

    async def create_metadata(self, spec: MirrorSpec) -> None:
        """See MirrorDriver."""
        in_use = await self._attacher.disks_in_use(spec)
        for volume in spec.volumes:
            if volume.metadata_device not in in_use:
                await self._metadata.create(volume)

    async def wipe_metadata(self, spec: MirrorSpec) -> None:
        """See MirrorDriver."""
        resource = await self._read(spec.name)
        if resource is not None and set(resource.devices) & {volume.number for volume in spec.volumes}:
            raise ConflictError(
                f"mirror {spec.name} is up",
                reasons=[Reason("mirror-up", "its metadata is in use", "take the mirror down first")],
            )
        for volume in spec.volumes:
            await self._metadata.wipe(volume)

    async def zero(
        self, device: str, *, done_bytes: int = 0, most_s: float | None = None, limit_bytes_s: int | None = None
    ) -> int:
        """See MirrorDriver."""
        path = self._host.kernel.path(device)
        if not thin.lies_on_no_pool(path, self._host.kernel):
            size_bytes = await thin.empty(path, self._host.commands)
            if size_bytes is not None:
                return size_bytes
        pace = Pace(self._host.clock, most_s, limit_bytes_s)
        return await zero_device(path, pace, done_bytes=done_bytes)

    # --- up and down ---

    async def attach(self, spec: MirrorSpec) -> MirrorStatus:
        """See MirrorDriver."""
        await self._attacher.attach(spec)
        return await self.status(spec.name)

    async def connect(self, spec: MirrorSpec, *, discard_changes: bool = False) -> MirrorStatus:
        """See MirrorDriver."""
        there = await self._attacher.attach(spec)
        if discard_changes and (await self._must_be_up(spec.name)).role is Role.PRIMARY:
            raise ConflictError(f"mirror {spec.name} is Primary here: what is in use is never given up")
        self._left.discard(spec.name)
        self._endpoints[spec.name] = (spec.local, spec.remote)
        if there.remote is None:
            await self._connector.connect(spec, discard_my_data=discard_changes)
        elif (there.local, there.remote) != (spec.local, spec.remote):
            raise ConflictError(f"mirror {spec.name} is connected between other addresses; disconnect it first")
        await upkeep.end_wait_for_data(await self.status(spec.name), self._drbd)
        return await self.status(spec.name)

    async def disconnect(self, name: str, *, force: bool = False) -> None:
        """See MirrorDriver."""
        known = self._endpoints.get(name)
        if known is None or not await self._disconnect(known, force=force):
            # Connected by another process, or with other addresses: ask the kernel for its own.
            if await self._read(name) is None:
                return
            there = await self._drbd.configuration(name)
            if there.local is not None and there.remote is not None:
                await self._disconnect((there.local, there.remote), force=force)
        self._left.add(name)

    async def down(self, name: str) -> None:
        """See MirrorDriver."""
        if await self._read(name) is not None:
            await self._while_held_open(partial(self._drbd.run, "down", name, timeout_s=ATTACH_S))
        self._endpoints.pop(name, None)
        if await self._read(name) is not None:
            raise VerificationError(f"mirror {name} is still in the kernel")

    # --- first sync ---

    async def skip_first_sync(self, name: str) -> None:
        """See MirrorDriver."""
        await first_sync.skip(name, self._drbd, self._host.clock)

    async def start_full_sync(self, spec: MirrorSpec) -> None:
        """See MirrorDriver."""
        await first_sync.start_full(spec, self._drbd, self._connector)

    # --- roles ---

    async def promote(self, name: str, *, numbers: Collection[int] | None = None) -> None:
        """See MirrorDriver."""
        known = self._alone(name)
        if known is None or not set(numbers or ()) <= set(known.devices):
            known = await self._must_be_up(name)
            if missing := set(numbers or ()) - set(known.devices):
                text = f"volume {min(missing)} is not in the kernel here"
                raise RefusedError(
                    f"mirror {name} must not become Primary here: {text}",
                    reasons=[Reason("no-volume", text, "attach its disk first")],
                )
            if reasons := _why_not_promote(_only(known.status(), numbers)):
                raise RefusedError(f"mirror {name} must not become Primary here", reasons=reasons)
        await upkeep.end_wait_for_data(known.status(), self._drbd)
        try:
            for number, minor in zip(sorted(known.devices), known.minors, strict=True):
                if numbers is None or number in numbers:
                    await self._while_transient("primary", str(minor))
        except HoldfastError as reason:
            await self._after_failed_promotion(name, reason)
        log.info("mirror %s is Primary", name)

    async def _after_failed_promotion(self, name: str, reason: HoldfastError) -> None:
        """Leave no mirror half promoted; a command that timed out may have worked after all."""
        resource = await self._must_be_up(name)
        if isinstance(reason, SystemCommandError) and reason.returncode is None and len(resource.minors) == 1:
            if resource.role is Role.PRIMARY:
                return
        elif resource.role is Role.PRIMARY:
            for minor in resource.minors:
                await self._while_transient("secondary", str(minor))
        raise reason

    async def demote(self, name: str) -> None:
        """See MirrorDriver."""
        resource = await self._must_be_up(name)
        for minor in resource.minors:
            await self._while_held_open(partial(self._while_transient, "secondary", str(minor)))
        log.info("mirror %s is Secondary", name)

    async def outdate(self, name: str) -> DiskState:
        """See MirrorDriver.

        `drbdsetup outdate` on a side that still believes to be Connected ends with 0 and does nothing
        (drbd_state.c:sanitize_state): therefore the disconnection first, and the reading back.
        """
        known = await self._must_be_up(name)
        if known.role is Role.PRIMARY:
            raise ConflictError(f"mirror {name} is Primary here: a side in use is never outdated")
        await self.disconnect(name, force=True)
        for minor in known.minors:
            try:
                await self._while_transient("outdate", str(minor))
            except KernelRefusedError as reason:
                if reason.number != LOWER_THAN_OUTDATED:
                    log.warning("mirror %s, minor %d: %s", name, minor, reason)
        status = (await self._must_be_up(name)).status()
        worst = min((volume.disk for volume in status.volumes), key=_WORST_FIRST.index, default=DiskState.DISKLESS)
        log.info("mirror %s was told to be outdated and now is %s", name, worst.value)
        return worst

    # --- looking ---

    async def status(self, name: str) -> MirrorStatus:
        """See MirrorDriver."""
        resource = await self._read(name)
        if resource is None:
            return events.absent(name)
        status = resource.status()
        is_busy = any(v.replication not in (ReplicationState.OFF, ReplicationState.ESTABLISHED) for v in status.volumes)
        if is_busy and self._host.kernel.exists("/proc/drbd"):
            return resource.status(progress.parse(self._host.kernel.read("/proc/drbd")))
        return status

    async def generations(self, name: str) -> tuple[str, ...]:
        """See MirrorDriver."""
        resource = await self._must_be_up(name)
        has_disk = {int(v["minor"]): v.get("disk") != DiskState.DISKLESS for v in resource.devices.values()}
        return tuple([await self._drbd.generations(minor) if has_disk[minor] else "" for minor in resource.minors])

    def compare(self, mine: str, theirs: str) -> Lineage:
        """See MirrorDriver."""
        return lineage.compare(mine, theirs)

    async def list_up(self) -> tuple[str, ...]:
        """See MirrorDriver."""
        return tuple(sorted((await self._drbd.picture()).resources))

    async def watch(self) -> AsyncIterator[MirrorStatus]:
        """See MirrorDriver. When the stream starts anew all mirrors are told of: it may have missed something."""
        known: set[str] = set()
        while True:
            picture = events.Picture()
            try:
                async with self._drbd.stream() as running:
                    async for line in running.lines():
                        event = events.parse(line)
                        if event is None:
                            continue
                        name = picture.apply(event)
                        if event.is_end_of_dump:
                            self._live = picture
                            for each in sorted(known | set(picture.resources)):
                                yield picture.status(each)
                        elif self._live is picture and name is not None:
                            known.add(name)
                            yield picture.status(name)
            finally:
                if self._live is picture:
                    self._live = None
            known |= set(picture.resources)
            log.warning("the stream of DRBD's events ended; it is started again")
            await self._host.clock.sleep(_STREAM_RESTART_S)

    async def serve_fence_requests(self, arbiter: FenceArbiter) -> None:
        """See MirrorDriver."""
        await FenceServer(self._host.run_dir, self._name_of).serve(arbiter)

    async def verify(self, name: str) -> None:
        """See MirrorDriver."""
        for volume in (await self._must_be_up(name)).status().volumes:
            if volume.replication is not ReplicationState.VERIFY:
                minor = volume.device.removeprefix(events.DEVICE_PREFIX)
                # Without it DRBD goes on where one that was cut off had stopped, and the rest is all that is compared.
                await self._while_transient("verify", minor, "--start=0")

    async def pause_sync(self, name: str) -> None:
        """See MirrorDriver."""
        await upkeep.pause((await self._must_be_up(name)).minors, self._drbd)

    async def resume_sync(self, name: str) -> None:
        """See MirrorDriver."""
        await upkeep.resume((await self._must_be_up(name)).minors, self._drbd)

    async def limit_sync(self, name: str, limits: SyncLimits) -> None:
        """See MirrorDriver."""
        volumes = (await self._must_be_up(name)).status().volumes
        # The limits are the disk's: the kernel refuses them to a volume without one, which gets them when attached.
        minors = [int(v.device.removeprefix(events.DEVICE_PREFIX)) for v in volumes if v.disk is not DiskState.DISKLESS]
        await upkeep.limit(minors, limits, self._drbd, self._settings)

    async def grow(self, name: str, *, new_part_is_zero: bool) -> MirrorStatus:
        """See MirrorDriver."""
        await upkeep.grow((await self._must_be_up(name)).status(), self._drbd, new_part_is_zero=new_part_is_zero)
        return await self.status(name)

    async def detach(self, name: str, number: int) -> MirrorStatus:
        """See MirrorDriver."""
        await upkeep.detach((await self._must_be_up(name)).status(), number, self._drbd)
        return await self.status(name)

    async def take_out(self, name: str, number: int) -> None:
        """See MirrorDriver."""
        resource = await self._read(name)
        if resource is None or number not in resource.devices:
            return
        minor = resource.devices[number]["minor"]
        await self._while_held_open(partial(self._while_transient, "secondary", minor))
        if resource.devices[number].get("disk") != DiskState.DISKLESS:
            await self._drbd.run("detach", minor, timeout_s=ATTACH_S)
        await self._while_held_open(partial(self._drbd.run, "del-minor", minor))
        log.info("volume %d was taken out of mirror %s", number, name)

    # --- inside ---

    async def _read(self, name: str) -> events.Resource | None:
        return (await self._drbd.picture(name)).resources.get(name)

    async def _must_be_up(self, name: str) -> events.Resource:
        if resource := await self._read(name):
            return resource
        raise NotFoundError(f"mirror {name} is not up on this node")

    def _alone(self, name: str) -> events.Resource | None:
        """A mirror that can be promoted without looking first, which makes a takeover shorter.

        Our own rule is about a side that is connected; unconnected, the kernel itself refuses one without data.
        """
        return self._live.resources.get(name) if self._live is not None and name in self._left else None

    async def _name_of(self, subject: str) -> str:
        """The mirror's name for `minor-0`, as the kernel's handler is told; other texts are names already."""
        kind, _, number = subject.rpartition("-")
        if kind == "minor" and number.isdigit():
            pictures = self._live or await self._drbd.picture()
            for resource in pictures.resources.values():
                if int(number) in resource.minors:
                    return resource.name
        return subject

    async def _disconnect(self, ends: tuple[MirrorEndpoint, MirrorEndpoint], *, force: bool) -> bool:
        """Leave a peer; False if there is no such connection."""
        words = ["disconnect", options.address(ends[0]), options.address(ends[1])]
        try:
            await self._drbd.run(*words, *(["--force"] if force else []))
        except KernelRefusedError as reason:
            if reason.number != UNKNOWN_CONNECTION:
                raise
            return False
        return True

    async def _while_transient(self, *words: str) -> object:
        """Run a change, again while the kernel says that another one is about to settle."""
        deadline_s = self._host.clock.boot_s() + _TRANSIENT_RETRY_S
        while True:
            try:
                return await self._drbd.run(*words)
            except KernelRefusedError as reason:
                if reason.number not in TRANSIENT or self._host.clock.boot_s() > deadline_s:
                    raise
            await self._host.clock.sleep(_RETRY_EVERY_S)

    async def _while_held_open(self, change: Callable[[], Awaitable[object]]) -> None:
        """Try a change for a short while. Raises BusyError if the device stays open."""
        deadline_s = self._host.clock.boot_s() + _DEMOTE_RETRY_S
        while True:
            try:
                await change()
            except BusyError:
                if self._host.clock.boot_s() > deadline_s:
                    raise
            else:
                return
            await self._host.clock.sleep(_RETRY_EVERY_S)


def _only(status: MirrorStatus, numbers: Collection[int] | None) -> MirrorStatus:
    if numbers is None:
        return status
    return replace(status, volumes=tuple(volume for volume in status.volumes if volume.number in numbers))


def _why_not_promote(status: MirrorStatus) -> tuple[Reason, ...]:
    """Our own rule above the kernel's: it would promote a side without data by reading from the peer."""
    if not status.volumes:
        return (Reason("no-volume", f"mirror {status.name} has no volume", "attach its disks first"),)
    return tuple(
        Reason(
            "no-data-here",
            f"volume {volume.number} is {volume.disk.value} here",
            "wait for the end of the resync" if volume.disk is DiskState.INCONSISTENT else "attach its disk first",
        )
        for volume in status.volumes
        if volume.disk in _NO_DATA
    )
