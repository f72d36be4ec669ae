"""How fast the link of a mirror is beside its disks: measured when it is made and when asked, told and never refused.

The figures are kept in the mirror's document, so that both nodes warn alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError, Reason, RefusedError, UnavailableError
from holdfast.hooks.replication import ReplicationState
from holdfast.planning.mirror_link import LinkMeasurement, slow_link, slow_link_reason, slowest
from holdfast.services.documents import MirrorDocument, VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.mirrors.mirrors import Mirrors
from holdfast.services.mirrors.numbers import LAST_PORT
from holdfast.services.mirrors.sides import MirrorSides
from holdfast.services.partner import PartnerLink, PeerHandler
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock
from holdfast.system.throughput import disk_rate, receive_burst, send_burst
from holdfast.values import from_plain, to_plain

PORT = LAST_PORT + 1
_IDLE = (ReplicationState.OFF, ReplicationState.ESTABLISHED)


class MirrorLink:
    """Defines the job `mirror.measure-link`."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        volumes: Intents[VolumeDocument],
        mirrors: Mirrors,
        sides: MirrorSides,
        jobs: Jobs,
        drivers: Drivers,
        partner: PartnerLink,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._kept = kept
        self._volumes = volumes
        self._mirrors = mirrors
        self._sides = sides
        self._jobs = jobs
        self._drivers = drivers
        self._partner = partner
        self._clock = clock
        self._node = node
        self._measuring = asyncio.Lock()
        """Two at a time would halve each other's figures."""
        steps = (
            Step("measure", self._measure),
            Step("record on the partner", self._record_there),
            Step("record on this node", self._record_here),
        )
        jobs.define(JobDefinition("mirror.measure-link", steps))

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask of this side."""
        return {"mirror.receive-burst": self._on_receive_burst}

    async def measure(self, name: str, *, validate_only: bool) -> str | None:
        """Measure anew, from this node to the other. Refused while a resync or comparison has the link."""

        async def check() -> None:
            await self._kept.get(name)
            status = await self._sides.status(name)
            if any(volume.replication not in _IDLE for volume in status.volumes):
                text = f"a resync or comparison of the mirror {name} is under way, and has the link"
                remedy = "wait for its end, or pause it: POST /v1/mirrors/NAME/pause-sync"
                raise RefusedError(text, reasons=[Reason("link-busy", text, remedy)])

        if validate_only:
            await check()
            return None
        return await self._jobs.start("mirror.measure-link", f"mirror:{name}", {"name": name}, check=check)

    async def warnings(self, volumes: Sequence[str]) -> tuple[Reason, ...]:
        """What a mirror of these volumes of this node, which is not made yet, would be warned of."""
        # One is enough, as when it is made: their disks are most often the same.
        pool = (await self._volumes.get(volumes[0])).pool
        device = (await self._drivers.volume().get_volume(pool, volumes[0])).device
        here = await self._sides.own_address()
        there = (await self._partner.call("mirror.facts", {}))["address"]
        return slow_link_reason(await self._look(here, there, device, None))

    async def measure_new(self, job: JobContext) -> None:
        """A step of the job that makes a mirror, whose document is among the job's facts."""
        document = from_plain(MirrorDocument, job.facts["mirror"])
        job.facts["mirror"] = to_plain(await self._measured(document, job))

    async def _measured(self, document: MirrorDocument, job: JobContext) -> MirrorDocument:
        """The mirror with what was measured now, which is told to the job, too. What fails is noted as unknown."""
        other = document.other(self._node)
        first = document.members[0]
        here, there = document.addresses[self._node], document.addresses[other]
        found = await self._look(here, there, first.devices[self._node], first.devices[other])
        if text := found.warning or found.unknown:
            await job.log(text)
        return replace(document, link=found)

    async def _look(self, here: str, there: str, device: str, their_device: str | None) -> LinkMeasurement:
        async with self._measuring:
            disk_bytes_s, unknown = await _disk_rate(device)
            link_bytes_s = None
            try:
                body = {"from": there, "to": here, "port": PORT, "device": their_device}

                async def ask(word: str) -> Any:
                    return await self._partner.call("mirror.receive-burst", {**body, "word": word})

                answer = await send_burst(here, PORT, there, ask)
                link_bytes_s = answer["link_bytes_s"]
                disk_bytes_s = slowest((disk_bytes_s, answer["disk_bytes_s"]))
                unknown = unknown or answer["unknown"]
            except (HoldfastError, OSError) as reason:
                unknown = f"the link could not be measured: {reason}"
        warning = slow_link(link_bytes_s, disk_bytes_s)
        at = self._clock.now().isoformat()
        return LinkMeasurement(at, self._node, link_bytes_s, disk_bytes_s, warning, unknown)

    async def _on_receive_burst(self, body: dict[str, Any], job_id: str | None) -> Any:
        try:
            link_bytes_s = await receive_burst(body["from"], body["to"], body["port"], body["word"])
        except OSError as reason:
            raise UnavailableError(f"{body['to']} port {body['port']} is not reached: {reason}") from reason
        device = body["device"]
        disk_bytes_s, unknown = await _disk_rate(device) if device is not None else (None, None)
        return {"link_bytes_s": link_bytes_s, "disk_bytes_s": disk_bytes_s, "unknown": unknown}

    # --- steps ---

    async def _measure(self, job: JobContext) -> None:
        document = await self._measured(await self._kept.get(job.parameters["name"]), job)
        job.facts["mirror"] = to_plain(document)

    async def _record_there(self, job: JobContext) -> None:
        await self._partner.call("mirror.change", {"mirror": job.facts["mirror"]}, job_id=job.job_id)

    async def _record_here(self, job: JobContext) -> None:
        await self._sides.change(from_plain(MirrorDocument, job.facts["mirror"]))
        job.result = await self._mirrors.get(job.parameters["name"])


async def _disk_rate(device: str) -> tuple[int | None, str | None]:
    try:
        return await disk_rate(Path(device)), None
    except OSError as reason:
        return None, f"{device} could not be measured: {reason}"
