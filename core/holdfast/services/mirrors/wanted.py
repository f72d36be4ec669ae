"""What is asked for when a mirror is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from holdfast.services.documents import MirrorDocument


class FirstSync(StrEnum):
    """How both sides become equal."""

    ZERO = "zero"
    """Zero both sides and skip the sync: for volumes that nobody has used yet."""
    FULL = "full"
    """Send all of the source."""


@dataclass(frozen=True)
class MirrorWanted:
    """A mirror to make from volumes of this node; these are the parameters of the job `mirror.create`."""

    name: str
    volumes: tuple[str, ...]
    first_sync: FirstSync
    chosen: Mapping[str, str]
    """For a volume one of the partner's, set to destination, that is overwritten instead of a new one."""
    zero_limit_bytes_s: int | None = None
    """So much is zeroed in a second on each node; None is as fast as the disks take it."""


def with_devices(of: MirrorDocument, node: str, devices: dict[str, str], metadata: dict[str, str]) -> MirrorDocument:
    """The mirror with what its volumes and their metadata lie on at a node, by volume."""
    members = tuple(
        replace(
            member,
            devices={**member.devices, node: devices[member.volume]},
            metadata_devices={**member.metadata_devices, node: metadata[member.volume]},
        )
        for member in of.members
    )
    return replace(of, members=members)
