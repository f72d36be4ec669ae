"""One node's side of a mirror: what is done on this node, asked for by this node's job or by the partner's.

Both nodes run the same code for their own side; the partner's is reached through the operations that `handlers` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from holdfast.errors import ConflictError, NotFoundError, Reason, RefusedError
from holdfast.hooks.replication import MirrorStatus
from holdfast.hooks.volume import VolumeKind, VolumeSpec
from holdfast.services.documents import MirrorDocument, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.partner import PeerHandler
from holdfast.services.plans import Plans
from holdfast.store.intent import Intents
from holdfast.values import from_plain, to_plain

FIRST_PORT = 7790
LAST_PORT = 7989


class MirrorSides:
    """Prepares, connects and removes this node's side."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        volumes: Intents[VolumeDocument],
        drivers: Drivers,
        plans: Plans,
        *,
        node: str,
        replication_address: str,
    ) -> None:
        self._kept = kept
        self._volumes = volumes
        self._drivers = drivers
        self._plans = plans
        self._node = node
        self._address = replication_address

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask of this side."""
        return {
            "mirror.facts": self._on_facts,
            "mirror.status": self._on_status,
            "mirror.prepare": self._on_prepare,
            "mirror.zero": self._on_zero,
            "mirror.attach": self._on_attach,
            "mirror.connect": self._on_connect,
            "mirror.disconnect": self._on_disconnect,
            "mirror.discard": self._on_discard,
            "mirror.adopt": self._on_adopt,
            "mirror.forget": self._on_forget,
        }

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
            "minors": sorted(member.minor for mirror in mirrors for member in mirror.members),
            "ports": sorted(mirror.port for mirror in mirrors),
            "mirrors": sorted(mirror.name for mirror in mirrors),
            "volumes": sorted(await self._volumes.all()),
            "free_bytes": {pool.name: pool.free_bytes for pool in pools},
        }

    async def status(self, name: str) -> MirrorStatus:
        """This side as the kernel has it."""
        return await self._drivers.mirror().status(name)

    async def make_volumes(self, document: MirrorDocument) -> dict[str, str]:
        """Make the destination's volumes, of exactly the source's size; return their devices. Repeatable.

        Raises ConflictError when a volume of that name exists that was not made for this mirror.
        """
        devices = {}
        for member in document.members:
            kept = await self._volumes.find(member.volume)
            mine = f"mirror:{document.name}"
            if kept is not None and kept.document.made_for != mine:
                text = f"node {self._node} has a volume {member.volume} already"
                remedy = f"delete it there, or give the volume on {document.source} another name"
                raise ConflictError(text, reasons=[Reason("name-taken", text, remedy)])
            pool = member.pools[self._node]
            blank = VolumeDocument(member.volume, pool, member.size_bytes, VolumeKind.ISCSI, made_for=mine)
            if kept is None:
                await self._refuse_unknown_volume(pool, member.volume)
                # Recorded first: an undo may only ever reach a volume that is known to be this mirror's own.
                await self._volumes.put(member.volume, blank)
            volume = await self._drivers.volume().create_volume(
                VolumeSpec(pool, member.volume, member.size_bytes, VolumeKind.ISCSI)
            )
            if volume.size_bytes != member.size_bytes:
                raise ConflictError(
                    f"the pool {pool} of {self._node} rounds {member.size_bytes} bytes to {volume.size_bytes}: "
                    "the sides would differ; use a size that is whole extents on both nodes"
                )
            devices[member.volume] = volume.device
        return devices

    async def _refuse_unknown_volume(self, pool: str, name: str) -> None:
        try:
            found = await self._drivers.volume().get_volume(pool, name)
        except NotFoundError:
            return
        raise ConflictError(f"{found.device} of node {self._node} exists, made outside of this configuration")

    async def make_metadata(self, document: MirrorDocument) -> dict[str, str]:
        """Make the metadata volumes of this side; return their devices. Repeatable."""
        driver = self._drivers.mirror()
        devices = {}
        for member in document.members:
            size_bytes = driver.metadata_bytes(member.size_bytes)
            pool = member.pools[self._node]
            devices[member.volume] = await self._drivers.volume().create_metadata(pool, member.volume, size_bytes)
        return devices

    async def zero(self, document: MirrorDocument) -> None:
        """Make this side's volumes read zero. The caller has proof that nobody's data is on them."""
        for volume in document.spec(self._node).volumes:
            await self._drivers.mirror().zero(volume.device, lambda done, size: None)

    async def attach(self, document: MirrorDocument) -> None:
        """Write the metadata if there is none yet, and configure the mirror in the kernel."""
        spec = document.spec(self._node)
        await self._drivers.mirror().create_metadata(spec)
        await self._drivers.mirror().attach(spec)

    async def connect(self, document: MirrorDocument) -> MirrorStatus:
        """Let this side connect."""
        return await self._drivers.mirror().connect(document.spec(self._node))

    async def discard(self, document: MirrorDocument, *, destroy_made: bool) -> None:
        """Take this side down and remove its metadata; with `destroy_made` also the volumes made for it. Repeatable."""
        driver = self._drivers.mirror()
        await driver.down(document.name)
        for member in document.members:
            kept = await self._volumes.find(member.volume)
            if self._node in member.metadata_devices:
                await driver.wipe_metadata(document.spec(self._node))
            pool = member.pools[self._node]
            await self._drivers.volume().delete_metadata(pool, member.volume)
            if kept is None or kept.document.made_for != f"mirror:{document.name}":
                continue
            if destroy_made:
                await self._drivers.volume().delete_volume(pool, member.volume)
                await self._volumes.remove(member.volume)
            else:
                await self._volumes.put(member.volume, replace(kept.document, made_for=None))

    async def adopt(self, document: MirrorDocument) -> None:
        """Record the mirror as it was made, mark its volumes as used, and tell the monitor."""
        await self._kept.put(document.name, document)
        for member in document.members:
            volume = await self._volumes.get(member.volume)
            await self._volumes.put(member.volume, replace(volume, is_blank=False))
        await self._plans.write_if_possible()

    async def forget(self, name: str) -> None:
        """Drop the record and tell the monitor."""
        await self._kept.remove(name)
        await self._plans.write_if_possible()

    # --- what the partner asks ---

    async def _on_facts(self, body: dict[str, Any], job_id: str | None) -> Any:
        return await self.facts()

    async def _on_status(self, body: dict[str, Any], job_id: str | None) -> Any:
        return to_plain(await self.status(body["name"]))

    async def _on_prepare(self, body: dict[str, Any], job_id: str | None) -> Any:
        document = _document(body)
        devices = await self.make_volumes(document)
        return {"devices": devices, "metadata_devices": await self.make_metadata(document)}

    async def _on_zero(self, body: dict[str, Any], job_id: str | None) -> Any:
        document = _document(body)
        for member in document.members:
            volume = await self._volumes.get(member.volume)
            if volume.made_for != f"mirror:{document.name}":
                raise RefusedError(f"the volume {member.volume} was not made for this mirror and is not zeroed")
        await self.zero(document)

    async def _on_attach(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self.attach(_document(body))

    async def _on_connect(self, body: dict[str, Any], job_id: str | None) -> Any:
        return to_plain(await self.connect(_document(body)))

    async def _on_disconnect(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._drivers.mirror().disconnect(body["name"])

    async def _on_discard(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self.discard(_document(body), destroy_made=body["destroy_made"])

    async def _on_adopt(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self.adopt(_document(body))

    async def _on_forget(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self.forget(body["name"])


def _document(body: dict[str, Any]) -> MirrorDocument:
    return from_plain(MirrorDocument, body["mirror"])


def choose_numbers(used: tuple[Mapping[str, Any], ...], *, count: int) -> tuple[tuple[int, ...], int]:
    """Minor numbers and a port that are free on both nodes. Raises ConflictError when there is no port left."""
    minors = {minor for facts in used for minor in facts["minors"]}
    ports = {port for facts in used for port in facts["ports"]}
    free_ports = [port for port in range(FIRST_PORT, LAST_PORT + 1) if port not in ports]
    if not free_ports:
        raise ConflictError(f"all ports from {FIRST_PORT} to {LAST_PORT} are taken by mirrors")
    free_minors = [minor for minor in range(len(minors) + count) if minor not in minors]
    return tuple(free_minors[:count]), free_ports[0]
