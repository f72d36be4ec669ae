"""Minor numbers and ports of mirrors: which are free on both nodes, and which are taken before they are on record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.errors import ConflictError
from holdfast.services.documents import MirrorDocument

FIRST_PORT = 7790
LAST_PORT = 7989


class TakenNumbers:
    """Of the mirrors that are being made, here or for the partner: several may be at the same time.

    In memory only: what makes them takes them again when it goes on after the daemon was ended.
    """

    def __init__(self) -> None:
        self._taken: dict[str, MirrorDocument] = {}

    def take(self, document: MirrorDocument) -> None:
        """From now on nobody else gets them."""
        self._taken[document.name] = document

    def release(self, name: str) -> None:
        """They are on record, or given up; none taken is no error."""
        self._taken.pop(name, None)

    @property
    def minors(self) -> set[int]:
        """Of all volumes."""
        return {member.minor for document in self._taken.values() for member in document.members}

    @property
    def ports(self) -> set[int]:
        """Of all mirrors."""
        return {document.port for document in self._taken.values()}


def choose_numbers(used: tuple[Mapping[str, Any], ...], *, count: int) -> tuple[tuple[int, ...], int]:
    """Minor numbers and a port that are free on both nodes. Raises ConflictError when there is no port left."""
    minors = {minor for facts in used for minor in facts["minors"]}
    ports = {port for facts in used for port in facts["ports"]}
    free_ports = [port for port in range(FIRST_PORT, LAST_PORT + 1) if port not in ports]
    if not free_ports:
        raise ConflictError(f"all ports from {FIRST_PORT} to {LAST_PORT} are taken by mirrors")
    free_minors = [minor for minor in range(len(minors) + count) if minor not in minors]
    return tuple(free_minors[:count]), free_ports[0]
