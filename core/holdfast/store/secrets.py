"""Secrets, kept apart and referred to by an id. The database file is 0600 and never leaves the node."""

from __future__ import annotations

import uuid

from holdfast.errors import NotFoundError
from holdfast.store.database import Database
from holdfast.values import Secret


class Secrets:
    """Puts secrets where no document, job record or event can show them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, value: Secret) -> str:
        """Keep a secret; return the reference to it."""
        reference = f"secret:{uuid.uuid4()}"
        async with self._database.change() as change:
            await change.execute("INSERT INTO secrets (id, value) VALUES (?, ?)", (reference, value.reveal()))
        return reference

    async def keep(self, reference: str, value: Secret) -> None:
        """Keep a secret under a reference of the caller's own, in the place of an older one."""
        async with self._database.change() as change:
            await change.execute(
                "INSERT INTO secrets (id, value) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET value=excluded.value",
                (reference, value.reveal()),
            )

    async def get(self, reference: str) -> Secret:
        """The secret itself. Raises NotFoundError."""
        rows = await self._database.rows("SELECT value FROM secrets WHERE id=?", (reference,))
        if not rows:
            raise NotFoundError("a secret that is referred to is not kept here any more: set it again")
        return Secret(rows[0]["value"])

    async def forget(self, reference: str) -> None:
        """Remove a secret; the absent is success."""
        async with self._database.change() as change:
            await change.execute("DELETE FROM secrets WHERE id=?", (reference,))
