"""What the partner may ask of this node's side of a mirror."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.errors import RefusedError
from holdfast.services.documents import VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.partner import PeerHandler
from holdfast.store.intent import Intents
from holdfast.store.secrets import Secrets
from holdfast.values import Secret, to_plain


class MirrorRequests:
    """The operations of `MirrorSides` as the partner's job reaches them; each may be repeated."""

    def __init__(
        self, sides: MirrorSides, volumes: Intents[VolumeDocument], secrets: Secrets, drivers: Drivers
    ) -> None:
        self._sides = sides
        self._volumes = volumes
        self._secrets = secrets
        self._drivers = drivers

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
            "mirror.change": self._on_change,
            "mirror.resume-sync": self._on_resume_sync,
        }

    async def _on_facts(self, body: dict[str, Any], job_id: str | None) -> Any:
        return await self._sides.facts()

    async def _on_status(self, body: dict[str, Any], job_id: str | None) -> Any:
        return to_plain(await self._sides.status(body["name"]))

    async def _on_prepare(self, body: dict[str, Any], job_id: str | None) -> Any:
        document = self._sides.read(body)
        if document.is_authenticated:
            await self._secrets.keep(document.secret_reference, Secret(body["secret"]))
        devices = await self._sides.make_volumes(document)
        return {"devices": devices, "metadata_devices": await self._sides.make_metadata(document)}

    async def _on_zero(self, body: dict[str, Any], job_id: str | None) -> Any:
        document = self._sides.read(body)
        for member in document.members:
            volume = await self._volumes.get(member.on(document.destination))
            if volume.mirror != document.name or (volume.made_for is None and not volume.is_blank):
                raise RefusedError(f"the volume {volume.name} was not made for this mirror and is not zeroed")
        done_bytes = await self._sides.zero(
            document,
            body["volume"],
            done_bytes=body["done_bytes"],
            most_s=body["most_s"],
            limit_bytes_s=body["limit_bytes_s"],
        )
        return {"done_bytes": done_bytes}

    async def _on_attach(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._sides.attach(self._sides.read(body))

    async def _on_connect(self, body: dict[str, Any], job_id: str | None) -> Any:
        return to_plain(await self._sides.connect(self._sides.read(body)))

    async def _on_disconnect(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._drivers.mirror().disconnect(body["name"])

    async def _on_discard(self, body: dict[str, Any], job_id: str | None) -> Any:
        destroy_made = body["destroy_made"]
        await self._sides.discard(self._sides.read(body), destroy_made=destroy_made, was_in_use=not destroy_made)

    async def _on_adopt(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._sides.adopt(self._sides.read(body))

    async def _on_change(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._sides.change(self._sides.read(body))

    async def _on_resume_sync(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._drivers.mirror().resume_sync(body["name"])

    async def _on_forget(self, body: dict[str, Any], job_id: str | None) -> Any:
        await self._sides.forget(body["name"])
