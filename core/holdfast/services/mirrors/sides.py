"""One node's side of a mirror: what is done on this node, asked for by this node's job or by the partner's.

Both nodes run the same code for their own side; the partner's is reached through `mirror_requests.py`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from secrets import token_hex
from typing import Any

from holdfast.errors import ConflictError, NotFoundError, Reason, RefusedError
from holdfast.hooks.base import Can
from holdfast.hooks.replication import MirrorSpec, MirrorStatus
from holdfast.hooks.volume import VolumeSpec
from holdfast.planning.mirror_members import on_record
from holdfast.services.documents import MirrorDocument, MirrorMember, ReplicationMode, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import Plans
from holdfast.services.mirrors.numbers import TakenNumbers
from holdfast.services.mirrors.torn import mark_torn
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.values import Secret, from_plain

# 48 characters: DRBD takes at most 63.
SECRET_BYTES = 24


class MirrorSides:
    """Prepares, connects and removes this node's side."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        volumes: Intents[VolumeDocument],
        drivers: Drivers,
        plans: Plans,
        secrets: Secrets,
        *,
        node: str,
        replication_address: str,
    ) -> None:
        self._kept = kept
        self._volumes = volumes
        self._drivers = drivers
        self._plans = plans
        self._secrets = secrets
        self._node = node
        self._address = replication_address
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One change of a mirror's side at a time: bringing one back must not meet the partner that takes it apart."""
        self.numbers = TakenNumbers()
        self._claiming = asyncio.Lock()
        """Of two mirrors that are made at the same time only one gets a volume."""

    async def own_address(self) -> str:
        """This node's address for replication. Raises RefusedError when the settings name none."""
        if not self._address:
            text = f"node {self._node} has no replication address"
            remedy = "set replication_address in [peer] of the settings file and restart holdfastd"
            raise RefusedError(text, reasons=[Reason("no-replication-address", text, remedy)])
        return self._address

    async def facts(self) -> dict[str, Any]:
        """What the other side must know to choose numbers free on both: address, minors, ports, volumes, pools."""
        mirrors = (await self._kept.all()).values()
        pools = await self._drivers.volume().list_pools()
        return {
            "address": await self.own_address(),
            "minors": sorted(self.numbers.minors | {member.minor for mirror in mirrors for member in mirror.members}),
            "ports": sorted(self.numbers.ports | {mirror.port for mirror in mirrors}),
            "mirrors": sorted(mirror.name for mirror in mirrors),
            "pools_of": {volume.name: volume.pool for volume in (await self._volumes.all()).values()},
            "free_bytes": {pool.name: pool.free_bytes for pool in pools},
        }

    async def spec(self, document: MirrorDocument) -> MirrorSpec:
        """The mirror as this node's driver takes it, with the peers' secret."""
        secret = await self._secrets.get(document.secret_reference) if document.is_authenticated else None
        return document.spec(self._node, secret)

    async def make_secret(self, document: MirrorDocument) -> str:
        """The peers' secret, made if there is none: for the partner, over mutual TLS, and for nobody else."""
        try:
            return (await self._secrets.get(document.secret_reference)).reveal()
        except NotFoundError:
            made = token_hex(SECRET_BYTES)
            await self._secrets.keep(document.secret_reference, Secret(made))
            return made

    async def status(self, name: str) -> MirrorStatus:
        """This side as the kernel has it; of a mirror on record without volumes that are being added or taken out."""
        status = await self._drivers.mirror().status(name)
        if (kept := await self._kept.find(name)) is None:
            return status
        return on_record(status, [member.number for member in kept.document.members])

    async def make_volumes(self, document: MirrorDocument) -> dict[str, str]:
        """Make the destination's volumes, of exactly the source's size, or take those that were chosen. Repeatable.

        Returns their devices. Raises ConflictError when a volume of that name exists that was not made for this
        mirror, or one that was chosen is not free any more.
        """
        devices = {}
        for member in document.members:
            mine = f"mirror:{document.name}"
            if self._node in member.names:
                async with self._claiming:
                    devices[member.volume] = await self._claim(member, mine)
                continue
            kept = await self._volumes.find(member.volume)
            if kept is not None and kept.document.made_for != mine:
                text = f"node {self._node} has a volume {member.volume} already"
                remedy = f"delete it there, or give the volume on {document.source} another name"
                raise ConflictError(text, reasons=[Reason("name-taken", text, remedy)])
            pool = member.pools[self._node]
            blank = VolumeDocument(member.volume, pool, member.size_bytes, member.kind, made_for=mine)
            blank = replace(blank, io_type=member.io_type, file_bytes=member.file_bytes)
            if kept is None:
                await self._refuse_unknown_volume(pool, member.volume)
                # Recorded first: an undo may only ever reach a volume that is known to be this mirror's own.
                await self._volumes.put(member.volume, blank)
            volume = await self._drivers.volume().create_volume(
                VolumeSpec(pool, member.volume, member.size_bytes, member.kind, member.io_type)
            )
            if volume.size_bytes != member.size_bytes:
                raise ConflictError(
                    f"the pool {pool} of {self._node} rounds {member.size_bytes} bytes to {volume.size_bytes}: "
                    "the sides would differ; use a size that is whole extents on both nodes"
                )
            devices[member.volume] = volume.device
        return devices

    async def _claim(self, member: MirrorMember, mine: str) -> str:
        name = member.on(self._node)
        volume = await self._volumes.get(name)
        found = await self._drivers.volume().get_volume(volume.pool, name)
        if volume.claimed_for == mine:
            return found.device
        if volume.mirror is not None or volume.replication_mode is not ReplicationMode.DESTINATION:
            text = f"the volume {name} of {self._node} is no free destination any more"
            remedy = f"set its replication mode to destination on {self._node}, or choose another"
            raise ConflictError(text, reasons=[Reason("not-destination", text, remedy, "destination_volumes")])
        if found.size_bytes != member.size_bytes:
            text = f"the volume {name} of {self._node} has {found.size_bytes} bytes and not {member.size_bytes}"
            raise ConflictError(text, reasons=[Reason("size", text, "choose one of the same size")])
        # No mirror has it: what metadata there is tells of one that is no more.
        await self._drivers.volume().delete_metadata(volume.pool, name)
        await self._volumes.put(name, replace(volume, claimed_for=mine))
        return found.device

    async def _refuse_unknown_volume(self, pool: str, name: str) -> None:
        try:
            found = await self._drivers.volume().get_volume(pool, name)
        except NotFoundError:
            return
        raise ConflictError(f"{found.device} of node {self._node} exists, made outside of this configuration")

    async def make_metadata(self, document: MirrorDocument) -> dict[str, str]:
        """Make the metadata volumes of this side; return their devices. Repeatable."""
        self.numbers.take(document)
        driver = self._drivers.mirror()
        devices = {}
        for member in document.members:
            size_bytes = member.metadata_bytes or driver.metadata_bytes(member.size_bytes)
            pool = member.pools[self._node]
            devices[member.volume] = await self._drivers.volume().create_metadata(
                pool, member.on(self._node), size_bytes
            )
        return devices

    async def zero(
        self, document: MirrorDocument, volume: str, *, done_bytes: int, most_s: float, limit_bytes_s: int | None
    ) -> int:
        """Zero this side's volume further, see MirrorDriver.zero; the caller has proof that nobody's data is on it."""
        device = next(member.devices[self._node] for member in document.members if member.volume == volume)
        driver = self._drivers.mirror()
        # What a job asked for before it was killed may be under way still.
        async with self._locks[document.name]:
            return await driver.zero(device, done_bytes=done_bytes, most_s=most_s, limit_bytes_s=limit_bytes_s)

    async def attach(self, document: MirrorDocument) -> None:
        """Write the metadata if there is none yet, and configure the mirror in the kernel."""
        async with self._locks[document.name]:
            await self._attach(document)

    async def _attach(self, document: MirrorDocument) -> None:
        spec = await self.spec(document)
        if await self._kept.find(document.name) is None:
            self.numbers.take(document)
        for member in document.members:
            if self._node in member.names:
                await self._note_given_up(member.on(self._node))
        await self._drivers.mirror().create_metadata(spec)
        await self._drivers.mirror().attach(spec)

    async def _note_given_up(self, name: str) -> None:
        """From here on a chosen volume is overwritten, and a copy only when the mirror says so at its end."""
        volume = await self._volumes.get(name)
        if volume.mirrored_as is None and not volume.is_torn:
            await self._volumes.put(name, replace(volume, is_torn=True))

    async def connect(self, document: MirrorDocument) -> MirrorStatus:
        """Let this side connect."""
        async with self._locks[document.name]:
            return await self._connect(document)

    async def _connect(self, document: MirrorDocument) -> MirrorStatus:
        return await self._drivers.mirror().connect(await self.spec(document))

    async def bring_back(self, name: str) -> None:
        """Connect a mirror that is started, attach another; one that is on record no more stays down."""
        async with self._locks[name]:
            kept = await self._kept.find(name)
            if kept is None:
                return
            if kept.document.is_started:
                await self._connect(kept.document)
            else:
                await self._attach(kept.document)

    async def discard(self, document: MirrorDocument, *, destroy_made: bool, was_in_use: bool) -> None:
        """Take this side down and remove its metadata; with `destroy_made` also the volumes made for it. Repeatable.

        Of a mirror that was in use, a copy that is not complete is marked so for good.
        """
        async with self._locks[document.name]:
            if was_in_use:
                await mark_torn(document, self._volumes, self._drivers.mirror(), self._node)
            await self._drivers.mirror().down(document.name)
            await self._free_members(document, destroy_made=destroy_made)
        await self._secrets.forget(document.secret_reference)
        self.numbers.release(document.name)

    async def take_out(self, document: MirrorDocument) -> None:
        """Take the volumes of `document` out of a mirror that stays up with its others; mark a torn copy as such."""
        async with self._locks[document.name]:
            await mark_torn(document, self._volumes, self._drivers.mirror(), self._node)
            for member in document.members:
                await self._drivers.mirror().take_out(document.name, member.number)

    async def let_go(self, document: MirrorDocument) -> None:
        """Make the volumes of `document`, which were taken out of their mirror, plain ones again. Repeatable."""
        async with self._locks[document.name]:
            await self._free_members(document, destroy_made=False)

    async def _free_members(self, document: MirrorDocument, *, destroy_made: bool) -> None:
        driver = self._drivers.mirror()
        for member in document.members:
            name, pool = member.on(self._node), member.pools[self._node]
            kept = await self._volumes.find(name)
            if document.source != self._node and (kept is None or kept.document.mirror != document.name):
                continue  # one that was not to be had: neither it nor its metadata is this mirror's
            if self._node in member.metadata_devices:
                await driver.wipe_metadata(document.spec(self._node, None))
            await self._drivers.volume().delete_metadata(pool, name)
            if kept is None:
                continue
            volume = replace(kept.document, mirrored_as=None, claimed_for=None)
            if volume.made_for is None:
                await self._volumes.put(name, volume)
            elif destroy_made:
                await self._drivers.volume().delete_volume(pool, name)
                await self._volumes.remove(name)
            else:
                await self._volumes.put(name, replace(volume, made_for=None))

    async def adopt(self, document: MirrorDocument) -> None:
        """Record the mirror as it was made, mark its volumes as used, and tell the monitor."""
        await self._kept.put(document.name, document)
        self.numbers.release(document.name)
        for member in document.members:
            volume = await self._volumes.get(member.on(self._node))
            device = self._drivers.mirror().device_path(member.minor)
            await self._volumes.put(volume.name, replace(volume, is_blank=False, mirrored_as=device))
        await self._plans.write_if_possible()

    def read(self, body: dict[str, Any]) -> MirrorDocument:
        """The mirror that the partner sends along."""
        return from_plain(MirrorDocument, body["mirror"])

    async def change(self, document: MirrorDocument) -> None:
        """Record a mirror that was changed, and make its limits hold in the kernel."""
        await self._kept.put(document.name, document)
        driver = self._drivers.mirror()
        if (await driver.status(document.name)).is_up and Can.MIRROR_SYNC_CONTROL in driver.can:
            await driver.limit_sync(document.name, document.limits)
        await self._plans.write_if_possible()

    async def forget(self, name: str) -> None:
        """Drop the record and tell the monitor."""
        async with self._locks[name]:
            await self._kept.remove(name)
        await self._plans.write_if_possible()
