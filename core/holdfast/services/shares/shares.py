"""Shares: a directory of a NAS volume, offered to clients or to replication."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from holdfast.errors import ConflictError, InvalidError, Reason, named_in
from holdfast.hooks.volume import VolumeKind
from holdfast.services.dependents import Dependents, refuse_destination, refuse_if_used
from holdfast.services.documents import ShareDocument
from holdfast.services.jobs import Jobs
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.services.volumes.volumes import Volumes
from holdfast.store.intent import Intents


class Shares:
    """Makes, shows and removes shares. Removing one leaves its files."""

    def __init__(self, kept: Intents[ShareDocument], volumes: Volumes, jobs: Jobs, dependents: Dependents) -> None:
        self._kept = kept
        self._volumes = volumes
        self._jobs = jobs
        self._dependents = dependents
        self._askers: list[Callable[[str], Awaitable[tuple[Reason, ...]]]] = []
        create = (Step("make the directory", self._make), Step("record", self._record, self._forget))
        jobs.define(JobDefinition("share.create", create))
        jobs.define(JobDefinition("share.delete", (Step("forget", self._forget),)))

    async def list(self) -> tuple[ShareDocument, ...]:
        """All shares, by name."""
        return tuple((await self._kept.all()).values())

    async def get(self, name: str) -> ShareDocument:
        """One share. Raises NotFoundError."""
        return await self._kept.get(name)

    async def directory(self, name: str) -> Path:
        """Where a share lies. Raises UnavailableError when its volume is not mounted."""
        share = await self._kept.get(name)
        return await self._volumes.mounted_directory(share.volume) / share.path

    async def create(self, share: ShareDocument, *, validate_only: bool) -> str | None:
        """Make a share; the job's id, or None where only the checks were wanted."""

        async def check() -> None:
            kept = await self._kept.find(share.name)
            if kept is not None:
                raise ConflictError(f"there is a share {share.name} on the volume {kept.document.volume}")
            with named_in("volume"):
                volume = await self._volumes.document(share.volume)
            if volume.kind is not VolumeKind.NAS:
                text = f"the volume {share.volume} is of kind {volume.kind}; a share lies on one of kind nas"
                raise InvalidError(text, reasons=[Reason("kind", text, "name a NAS volume", "volume")])
            refuse_destination(volume)

        if validate_only:
            await check()
            return None
        locks = [f"volume:{share.volume}"]
        return await self._jobs.start("share.create", f"share:{share.name}", vars(share), locks=locks, check=check)

    def ask_before_delete(self, ask: Callable[[str], Awaitable[tuple[Reason, ...]]]) -> None:
        """Have `ask` say for each share that is to be removed why it must stay."""
        self._askers.append(ask)

    async def delete(self, name: str, *, validate_only: bool) -> str | None:
        """Forget a share. Refused, naming them, while tasks, replica shares or clients use it."""

        async def check() -> None:
            await self._kept.get(name)
            offered = [reason for ask in self._askers for reason in await ask(name)]
            refuse_if_used(f"the share {name}", await self._dependents.of_share(name), offered)

        if validate_only:
            await check()
            return None
        return await self._jobs.start("share.delete", f"share:{name}", {"name": name}, check=check)

    async def _make(self, job: JobContext) -> None:
        root = await self._volumes.mounted_directory(job.parameters["volume"])
        await asyncio.to_thread(make_below, root, job.parameters["path"])

    async def _record(self, job: JobContext) -> None:
        given = job.parameters
        job.result = ShareDocument(given["name"], given["volume"], given["path"])
        await self._kept.put(given["name"], job.result)

    async def _forget(self, job: JobContext) -> None:
        await self._kept.remove(job.parameters["name"])


def make_below(root: Path, path: str) -> None:
    """Make the directories of `path` below `root`, following no symbolic link: clients may have planted one."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in Path(path).parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=descriptor)
            try:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            except OSError as reason:
                raise ConflictError(f"{path}: {part} is not a directory there") from reason
            os.close(descriptor)
            descriptor = inner
    finally:
        os.close(descriptor)
