"""What people call a volume: free text, on record only."""

from __future__ import annotations

from dataclasses import replace

from holdfast.services.documents import VolumeDocument
from holdfast.services.jobs import Jobs
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.volumes.volumes import Volumes
from holdfast.store.intent import Intents


class VolumeLabels:
    """Defines the job `volume.label`."""

    def __init__(self, kept: Intents[VolumeDocument], volumes: Volumes, jobs: Jobs) -> None:
        self._kept = kept
        self._volumes = volumes
        self._jobs = jobs
        jobs.define(JobDefinition("volume.label", (Step("record", self._record, is_final=True),)))

    async def set(self, name: str, label: str, *, validate_only: bool) -> str | None:
        """Give a volume another label; the job's id, or None where only the checks were wanted."""

        async def check() -> None:
            await self._kept.get(name)

        if validate_only:
            await check()
            return None
        parameters = {"name": name, "label": label}
        return await self._jobs.start("volume.label", f"volume:{name}", parameters, check=check)

    async def _record(self, job: JobContext) -> None:
        name = job.parameters["name"]
        await self._kept.put(name, replace(await self._kept.get(name), label=job.parameters["label"]))
        job.result = await self._volumes.get(name)
