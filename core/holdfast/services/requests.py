"""What a request lays down for the change that it starts, beyond what the change is: a precondition, and its key."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from holdfast.errors import BusyError, KeyReusedError, Reason
from holdfast.store.keys import Claim, Keys, Outcome


@dataclass(frozen=True)
class Terms:
    """`precondition` is asked again under the job's locks, and raises; the job is kept under `claim`."""

    precondition: Callable[[], Awaitable[None]] | None = None
    claim: Claim | None = None


# By context, so that it need not travel through the services of all nouns, which have nothing to do with it.
_terms: ContextVar[Terms] = ContextVar("terms", default=Terms())  # noqa: B039 - it is frozen


@contextlib.contextmanager
def under(terms: Terms) -> Iterator[None]:
    """For the first job that is started within, these terms hold."""
    before = _terms.set(terms)
    try:
        yield
    finally:
        _terms.reset(before)


def take_terms() -> Terms:
    """The terms of the request that is being answered. They are for one job: whoever asks next gets none."""
    found = _terms.get()
    _terms.set(Terms())
    return found


class Claims:
    """Sees to it that of requests under one key only the first does anything."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        # A request that was under way when the daemon ended has either made its job, which is on disk with the
        # key, or nothing: what is under way need not outlive the process.
        self._under_way: dict[tuple[str, str, str, str], str] = {}

    @contextlib.asynccontextmanager
    async def hold(self, claim: Claim) -> AsyncIterator[Outcome | None]:
        """Yield what came of the key before; None means that the request is the first, and to be carried out within.

        Raises KeyReusedError when the key was used for another request, BusyError while the first is still under way.
        """
        other = self._under_way.get(claim.name)
        if other is not None:
            _refuse_another(claim, other)
        else:
            self._under_way[claim.name] = claim.request_sha256
        try:
            # Also while the first one is still answered: its job may long be there, and the answer wait for its end.
            outcome = await self._keys.find(claim)
            if outcome is not None:
                _refuse_another(claim, outcome.request_sha256)
            elif other is not None:
                text = f"the first request with the key {claim.key} is still under way"
                raise BusyError(text, reasons=[Reason("key-in-flight", text, "repeat it later", "Idempotency-Key")])
            yield outcome
        finally:
            if other is None:
                del self._under_way[claim.name]

    async def keep_answer(self, claim: Claim, status: int, text: str) -> None:
        """Keep the answer of a call that started no job."""
        await self._keys.keep_answer(claim, {"status": status, "text": text})


def _refuse_another(claim: Claim, request_sha256: str) -> None:
    if request_sha256 != claim.request_sha256:
        text = f"the key {claim.key} was used for another request"
        remedy = "give each change a key of its own, and repeat a request as it was"
        raise KeyReusedError(text, reasons=[Reason("key-reused", text, remedy, "Idempotency-Key")])
