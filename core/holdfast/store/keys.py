"""What came of changes that were asked for under an `Idempotency-Key`: a repeated request makes no second one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from holdfast.store.database import Change, Database
from holdfast.system.clock import Clock

KEPT_FOR = timedelta(hours=24)
KEPT_OF_EACH = 10_000
"""The newest so many of each principal: nobody's keys push out another's."""


@dataclass(frozen=True)
class Claim:
    """A request under a key. The first four say whose and which, the last what was asked for."""

    principal: str
    method: str
    path: str
    key: str
    request_sha256: str

    @property
    def name(self) -> tuple[str, str, str, str]:
        """Under what it is kept."""
        return (self.principal, self.method, self.path, self.key)


@dataclass(frozen=True)
class Outcome:
    """What came of a claim: a job, or the answer of a call that needs none."""

    request_sha256: str
    job_id: str | None
    answer: Mapping[str, Any] | None


class Keys:
    """Keeps outcomes for KEPT_FOR."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def find(self, claim: Claim) -> Outcome | None:
        """What came of the request that first had this key, or None."""
        rows = await self._database.rows(
            "SELECT request_sha256, job_id, answer FROM idempotency_keys"
            " WHERE principal=? AND method=? AND path=? AND key=? AND kept_at>?",
            (*claim.name, _oldest(self._clock)),
        )
        if not rows:
            return None
        answer = rows[0]["answer"]
        return Outcome(rows[0]["request_sha256"], rows[0]["job_id"], None if answer is None else json.loads(answer))

    async def keep_answer(self, claim: Claim, answer: Mapping[str, Any]) -> None:
        """Keep the answer of a call that started no job."""
        async with self._database.change() as change:
            await keep_in(change, self._clock, claim, answer=answer)


async def keep_in(
    change: Change,
    clock: Clock,
    claim: Claim,
    *,
    job_id: str | None = None,
    answer: Mapping[str, Any] | None = None,
) -> None:
    """Keep an outcome within a transaction: there is no job without its key. Drop what is too old or too much."""
    await change.execute("DELETE FROM idempotency_keys WHERE kept_at<=?", (_oldest(clock),))
    number = await change.insert(
        "INSERT INTO idempotency_keys (principal, method, path, key, request_sha256, job_id, answer, kept_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *claim.name,
            claim.request_sha256,
            job_id,
            None if answer is None else json.dumps(answer),
            clock.now().isoformat(),
        ),
    )
    await change.execute(
        "DELETE FROM idempotency_keys WHERE principal=? AND number<="
        "(SELECT number FROM idempotency_keys WHERE principal=? AND number<=? ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (claim.principal, claim.principal, number, KEPT_OF_EACH),
    )


def _oldest(clock: Clock) -> str:
    return (clock.now() - KEPT_FOR).isoformat()
