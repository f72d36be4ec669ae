"""The one other node, and the file that remembers it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import InvalidError, VerificationError
from holdfast.system.files import sync_directory, write_atomically
from holdfast.values import Secret, from_plain, to_plain


@dataclass(frozen=True)
class Partner:
    """The node this one is paired with.

    `address` is an IP address and `port` that of its peer server; `certificate_pem` is the one certificate
    trusted there. `key` is known to both nodes only: 32 bytes in hex that authenticate heartbeats.
    """

    node: str
    node_id: str
    address: str
    port: int
    certificate_pem: str
    key: Secret
    is_given_up: bool = False
    """A person said that it is lost for good: it is called no more, and a machine of its name may take its place."""


class PartnerFile:
    """The partner on disk, mode 0600, whole or absent."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Partner | None:
        """Return the partner, or None before pairing. Raises VerificationError when the file is not understood."""
        try:
            text = self._path.read_text("utf-8")
        except FileNotFoundError:
            return None
        try:
            return from_plain(Partner, json.loads(text))
        except (ValueError, InvalidError) as reason:
            raise VerificationError(f"{self._path} does not hold a partner: {reason}") from reason

    def save(self, partner: Partner) -> None:
        """Remember `partner` durably, in place of any other. Raises OSError."""
        text = json.dumps(to_plain(partner, reveal=True), indent=2) + "\n"
        write_atomically(self._path, text.encode(), mode=0o600)

    def forget(self) -> None:
        """Be unpaired. Forgetting again is success."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return
        sync_directory(self._path.parent)
