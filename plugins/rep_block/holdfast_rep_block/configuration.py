"""What `drbdsetup show` prints: which disks and addresses the kernel was given. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from holdfast.hooks.replication import MirrorEndpoint

_WORD = re.compile(r'"([^"]*)"|([{};])|([^\s{};"]+)')
_COMMENT = re.compile(r"#[^\n]*")


@dataclass(frozen=True)
class ConfiguredVolume:
    """A volume as the kernel has it; without a disk the devices are None."""

    number: int
    minor: int
    device: str | None
    metadata_device: str | None


@dataclass(frozen=True)
class Configuration:
    """A resource as the kernel has it; without a peer the endpoints are None."""

    volumes: tuple[ConfiguredVolume, ...]
    local: MirrorEndpoint | None
    remote: MirrorEndpoint | None


def parse(text: str) -> Configuration:
    """Read the block of one resource."""
    statements = _statements(text)
    hosts = {
        place[-1]: _endpoint(words)
        for place, words in statements
        if words[0] == "address" and place[-1] in ("_this_host", "_remote_host")
    }
    volumes: dict[int, dict[str, str]] = {}
    for place, words in statements:
        if len(place) > 1 and place[-2:-1] == ("_this_host",) and place[-1].startswith("volume "):
            volumes.setdefault(int(place[-1].split()[1]), {})[words[0]] = words[-1]
    return Configuration(
        tuple(
            ConfiguredVolume(number, int(found["device"]), found.get("disk"), found.get("meta-disk"))
            for number, found in sorted(volumes.items())
        ),
        hosts.get("_this_host"),
        hosts.get("_remote_host"),
    )


def _statements(text: str) -> list[tuple[tuple[str, ...], list[str]]]:
    """Each statement with the titles of the blocks around it."""
    found: list[tuple[tuple[str, ...], list[str]]] = []
    place: list[str] = []
    words: list[str] = []
    for match in _WORD.finditer(_COMMENT.sub("", text)):
        if match[2] == "{":
            place.append(" ".join(words))
        elif match[2] == "}":
            place.pop()
        elif match[2] == ";":
            found.append((tuple(place), words))
        else:
            words.append(match[1] if match[1] is not None else match[3])
            continue
        words = []
    return [(where, what) for where, what in found if what]


def _endpoint(words: list[str]) -> MirrorEndpoint:
    host, _, port = words[-1].rpartition(":")
    return MirrorEndpoint(host.strip("[]"), int(port))
