"""Who may change a thing now: one job, or whoever brings it back to what is on record, and never both."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

from holdfast.errors import BusyError, Reason


class ObjectLocks:
    """The locks of one node's things, by name, `noun:name`. In memory: jobs take theirs anew after a restart."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}
        self._mending: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._passed_over: set[str] = set()
        self.freed = asyncio.Event()
        """A job has ended that held what was to be mended; who mends clears it."""

    def hold(self, names: Iterable[str], job: str) -> None:
        """Give locks to a job, told as in `volume.delete of volume:v`."""
        self._held.update(dict.fromkeys(names, job))

    def release(self, names: Iterable[str]) -> None:
        """Give them back."""
        for name in names:
            self._held.pop(name, None)
            if name in self._passed_over:
                self._passed_over.remove(name)
                self.freed.set()

    def must_pass_over(self, name: str) -> bool:
        """Whether a job holds what is to be mended: then it is the job's to change. `freed` is set at its end."""
        if name in self._held:
            self._passed_over.add(name)
        return name in self._held

    def refuse_if_held(self, names: Iterable[str]) -> None:
        """Raise BusyError if a job holds one of these locks."""
        busy = [(name, self._held[name]) for name in names if name in self._held]
        if busy:
            reasons = [
                Reason("job-under-way", f"{name} is held by the job {holder}", "wait for the job to end, or cancel it")
                for name, holder in busy
            ]
            raise BusyError(reasons[0].text, reasons=reasons)

    async def mend(self, name: str, act: Callable[[], Awaitable[None]]) -> None:
        """Bring a thing back to what is on record, unless a job holds it; a job that comes meanwhile waits for the end.

        `act` reads for itself what is on record: what was read before may have been changed, or be gone.
        """
        async with self._mending[name]:
            if not self.must_pass_over(name):
                await act()

    async def until_mended(self, names: Iterable[str]) -> None:
        """Wait for what is under way with things whose locks a job holds; as it holds them, nothing else begins."""
        for name in names:
            async with self._mending[name]:
                pass
