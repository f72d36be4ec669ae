"""API tokens: 256 random bits, of which only the hash is kept."""

from __future__ import annotations

import hashlib
import secrets
import uuid

from holdfast.store.database import Database
from holdfast.system.clock import Clock
from holdfast.values import Secret

PREFIX = "hf_"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Tokens:
    """Makes and knows tokens."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def make(self, label: str) -> Secret:
        """Make a token. It is shown this once."""
        token = Secret(PREFIX + secrets.token_urlsafe(32))
        async with self._database.change() as change:
            await change.execute(
                "INSERT INTO tokens (id, label, sha256, created_at) VALUES (?, ?, ?, ?)",
                (str(uuid.uuid4()), label, _hash(token.reveal()), self._clock.now().isoformat()),
            )
        return token

    async def label_of(self, token: str) -> str | None:
        """Whose token it is, or None. The hash is looked up, so timing tells nothing of a token."""
        rows = await self._database.rows("SELECT label FROM tokens WHERE sha256=?", (_hash(token),))
        return str(rows[0]["label"]) if rows else None

    async def forget_all(self, label: str) -> None:
        """Revoke every token of a label."""
        async with self._database.change() as change:
            await change.execute("DELETE FROM tokens WHERE label=?", (label,))
