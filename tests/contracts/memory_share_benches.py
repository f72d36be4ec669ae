"""Clients of the share drivers in memory, for the kit and for what it must catch."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from holdfast.hooks.share import NfsDriver, ShownSnapshot, SmbDriver
from holdfast.testing.memory_share import READ, WRITE, MemoryNfs, MemorySession, MemoryShares, MemorySmb
from holdfast.testing.share import PASSWORD, USER, Bench, Held, accounts

HOST = "127.0.0.1"
D = TypeVar("D", SmbDriver, NfsDriver)


class HeldInMemory(Held):
    def __init__(self, session: MemorySession) -> None:
        self._session = session

    async def write(self) -> bool:
        return self._session.write()

    async def close(self) -> None:
        self._session.is_open = False


class _Bench(Bench[D]):
    @property
    def shares(self) -> MemoryShares[object]:  # type: ignore[type-var]
        assert isinstance(self.driver, MemoryShares)
        return self.driver

    async def offer_elsewhere(self, share: str) -> None:
        self.shares.served.foreign[share] = self.path_of(share)

    async def is_offered_elsewhere(self, share: str) -> bool:
        return self.shares.served.foreign.get(share) == str(self.directory / share)

    def connect(self, share: str) -> MemorySession | None:
        raise AssertionError("override this")

    def open_snapshot(self, share: str, snapshot: ShownSnapshot, *, for_writing: bool = False) -> bool:
        user = USER if isinstance(self.driver, SmbDriver) else None
        return self.shares.open_snapshot(share, HOST, user, snapshot.name, for_writing=for_writing)

    async def may_read_snapshot(self, share: str, snapshot: ShownSnapshot) -> bool:
        if is_open := self.open_snapshot(share, snapshot):
            self.shares.open_in.pop()
        return is_open

    async def may_write_snapshot(self, share: str, snapshot: ShownSnapshot) -> bool:
        return self.open_snapshot(share, snapshot, for_writing=True)

    async def hold_snapshot(self, share: str, snapshot: ShownSnapshot) -> Held:
        assert self.open_snapshot(share, snapshot)
        return HeldInMemory(MemorySession(share, HOST, None, is_writing=False, right=READ))

    async def is_in_use(self, snapshot: ShownSnapshot) -> bool:
        return snapshot in self.shares.open_in

    async def may_read(self, share: str) -> bool:
        return self._may(share, READ)

    async def may_write(self, share: str) -> bool:
        return self._may(share, WRITE)

    def _may(self, share: str, right: int) -> bool:
        session = self.connect(share)
        if session is None:
            return False
        self.shares.served.sessions.remove(session)
        return session.right >= right

    async def hold(self, share: str) -> Held:
        session = self.connect(share)
        assert session is not None
        return HeldInMemory(session)


class SmbBench(_Bench[SmbDriver]):
    def connect(self, share: str) -> MemorySession | None:
        assert isinstance(self.driver, MemorySmb)
        return self.driver.log_in(share, USER, PASSWORD.reveal())


class NfsBench(_Bench[NfsDriver]):
    def connect(self, share: str) -> MemorySession | None:
        assert isinstance(self.driver, MemoryNfs)
        return self.driver.connect(share, HOST)


async def smb_bench(driver: MemorySmb, directory: Path) -> SmbBench:
    await driver.set_accounts(*accounts())
    return SmbBench(driver, directory)
