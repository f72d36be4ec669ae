"""Copies that are not complete when they leave their mirror: they are marked, and served by nobody."""

from __future__ import annotations

from dataclasses import replace

from holdfast.hooks.replication import DiskState, MirrorDriver
from holdfast.services.documents import MirrorDocument, VolumeDocument
from holdfast.store.intent import Intents

WHOLE = (DiskState.UP_TO_DATE, DiskState.CONSISTENT, DiskState.OUTDATED)
"""All of it is of one moment."""


async def mark_torn(
    document: MirrorDocument, volumes: Intents[VolumeDocument], driver: MirrorDriver, node: str
) -> None:
    """Note of a node's copies whether they are torn, by what its kernel says; what it does not say stays as it was.

    Before the mirror goes down: afterwards nobody knows any more.
    """
    disks = {volume.number: volume.disk for volume in (await driver.status(document.name)).volumes}
    for member in document.members:
        kept = await volumes.find(member.on(node))
        is_known = disks.get(member.number) in (DiskState.INCONSISTENT, *WHOLE)
        if is_known and kept is not None:
            is_torn = disks[member.number] is DiskState.INCONSISTENT
            await volumes.put(kept.document.name, replace(kept.document, is_torn=is_torn))
