"""The contracts of the share drivers as tests: subclass `SmbContract` or `NfsContract` and override `bench`.

A bench has a client of the protocol in hand, which comes with a right that the exposure gives it.
"""

# The names of the tests are the sentences of the contract.
# ruff: noqa: D102

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from holdfast.errors import ConflictError, UnavailableError
from holdfast.hooks.share import (
    SNAPSHOTS_FOLDER,
    NfsClient,
    NfsDriver,
    NfsExposure,
    ShareDriver,
    ShareGroup,
    ShareUser,
    ShownSnapshot,
    SmbDriver,
    SmbExposure,
)
from holdfast.values import Secret

E = TypeVar("E", SmbExposure, NfsExposure)
D = TypeVar("D", SmbDriver, NfsDriver)
USER, OTHER, GROUP = "anna", "bert", "team"
PASSWORD, CHANGED = Secret("the first: pass word"), Secret("another one")
TAKEN_AT = datetime(2026, 3, 2, 17, 0, 5, tzinfo=UTC)
UID, GID = 20_001, 20_002
FSIDS = {"docs": "0b5f9a3e-8d0c-4a8e-9d3d-2f3c6f1f0001", "more": "0b5f9a3e-8d0c-4a8e-9d3d-2f3c6f1f0002"}


class Held(ABC):
    """A client that holds a file open."""

    @abstractmethod
    async def write(self) -> bool:
        """Write to the open file, to the server's disk; False if that is refused, or the file is lost."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of it; lost already is success."""


class Bench(ABC, Generic[D]):
    """A driver and a client: of SMB the user USER with PASSWORD, of NFS this host."""

    def __init__(self, driver: D, directory: Path) -> None:
        """`directory` lies where the driver can offer it."""
        self.driver: D = driver
        self.directory = directory

    def path_of(self, share: str) -> str:
        """The directory of a share, made."""
        path = self.directory / share
        path.mkdir(exist_ok=True)
        return str(path)

    def names(self) -> set[str]:
        """What lies beside the shares' directories."""
        return {path.name for path in self.directory.iterdir()}

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link beside the shares' directories."""
        (self.directory / name).symlink_to(self.directory / target)

    async def make_snapshot(self, name: str) -> ShownSnapshot:
        """Make a directory with a file `told` in it, which is to be shown as a snapshot."""
        path = Path(self.path_of(name))
        (path / "told").write_text("as it was")
        return ShownSnapshot(name, TAKEN_AT, str(path))

    @abstractmethod
    async def may_read_snapshot(self, share: str, snapshot: ShownSnapshot) -> bool:
        """Whether a client that comes now reads `told` in it."""

    @abstractmethod
    async def may_write_snapshot(self, share: str, snapshot: ShownSnapshot) -> bool:
        """Whether a client that comes now changes `told` in it."""

    @abstractmethod
    async def hold_snapshot(self, share: str, snapshot: ShownSnapshot) -> Held:
        """Have a client keep something open in it; it cannot write."""

    @abstractmethod
    async def is_in_use(self, snapshot: ShownSnapshot) -> bool:
        """Whether something keeps its directory from being unmounted."""

    @abstractmethod
    async def may_read(self, share: str) -> bool:
        """Whether a client that comes now reads."""

    @abstractmethod
    async def may_write(self, share: str) -> bool:
        """Whether a client that comes now writes."""

    @abstractmethod
    async def hold(self, share: str) -> Held:
        """Have a client open a file for writing."""

    @abstractmethod
    async def offer_elsewhere(self, share: str) -> None:
        """Offer a share with the same server as a person would, without the driver."""

    @abstractmethod
    async def is_offered_elsewhere(self, share: str) -> bool:
        """Whether that one is still there, as it was."""


class ShareContract(Generic[D, E]):
    """What the drivers of both protocols do."""

    def exposure(self, bench: Bench[D], share: str = "docs", *, can_write: bool = True) -> E:
        """Offer a share to the bench's client."""
        raise AssertionError("override this")

    def let_another_in(self, exposure: E) -> E:
        """The same with somebody else let in, too."""
        raise AssertionError("override this")

    def let_nobody_in(self, exposure: E) -> E:
        """The same for nobody."""
        raise AssertionError("override this")

    @staticmethod
    def of(bench: Bench[D]) -> ShareDriver[E]:
        """The driver, of which only what both have in common is used."""
        return bench.driver  # type: ignore[return-value]

    async def test_what_is_exposed_is_read_back_and_listed(self, bench: Bench[D]) -> None:
        wanted = self.let_another_in(self.exposure(bench))
        assert await self.of(bench).expose(wanted) == wanted
        assert await self.of(bench).list_exposures() == (wanted,)
        held_back = replace(wanted, is_read_only=True)
        assert await self.of(bench).expose(held_back) == held_back
        assert await self.of(bench).list_exposures() == (held_back,)

    async def test_nothing_is_offered_before_it_is_exposed(self, bench: Bench[D]) -> None:
        assert await self.of(bench).list_exposures() == ()
        assert await self.of(bench).list_sessions() == ()
        assert not await bench.may_read("docs")

    async def test_who_may_write_writes(self, bench: Bench[D]) -> None:
        await self.of(bench).expose(self.exposure(bench))
        assert await bench.may_read("docs")
        assert await bench.may_write("docs")

    async def test_who_may_only_read_only_reads(self, bench: Bench[D]) -> None:
        await self.of(bench).expose(self.exposure(bench, can_write=False))
        assert await bench.may_read("docs")
        assert not await bench.may_write("docs")

    async def test_nobody_writes_to_what_is_read_only(self, bench: Bench[D]) -> None:
        await self.of(bench).expose(replace(self.exposure(bench), is_read_only=True))
        assert await bench.may_read("docs")
        assert not await bench.may_write("docs")

    async def test_who_is_in_no_list_has_no_access(self, bench: Bench[D]) -> None:
        await self.of(bench).expose(self.let_nobody_in(self.exposure(bench)))
        assert not await bench.may_read("docs")

    async def test_who_may_do_as_much_as_before_notices_nothing_of_a_change(self, bench: Bench[D]) -> None:
        wanted = self.exposure(bench)
        await self.of(bench).expose(wanted)
        held = await bench.hold("docs")
        await self.of(bench).expose(wanted)
        await self.of(bench).expose(self.let_another_in(wanted))
        assert await held.write()
        await held.close()

    async def test_who_may_do_less_is_held_to_it_in_what_he_has_open(self, bench: Bench[D]) -> None:
        wanted = self.exposure(bench)
        await self.of(bench).expose(wanted)
        held = await bench.hold("docs")
        assert await held.write()
        await self.of(bench).expose(replace(wanted, is_read_only=True))
        assert not await held.write()
        await held.close()

    async def test_what_was_taken_is_given_back(self, bench: Bench[D]) -> None:
        wanted = self.exposure(bench)
        await self.of(bench).expose(self.let_nobody_in(wanted))
        await self.of(bench).expose(replace(wanted, is_read_only=True))
        await self.of(bench).expose(wanted)
        assert await bench.may_write("docs")

    async def test_a_directory_that_is_not_there_is_refused(self, bench: Bench[D]) -> None:
        wanted = replace(self.exposure(bench), path=str(bench.directory / "absent"))
        with pytest.raises(UnavailableError):
            await self.of(bench).expose(wanted)
        assert "absent" not in bench.names()
        assert await self.of(bench).list_exposures() == ()

    async def test_a_symbolic_link_in_the_path_is_refused(self, bench: Bench[D]) -> None:
        bench.path_of("real")
        bench.path_of("real/inner")
        bench.link("linked", "real")
        with pytest.raises(UnavailableError):
            await self.of(bench).expose(replace(self.exposure(bench), path=str(bench.directory / "linked/inner")))
        assert await self.of(bench).list_exposures() == ()

    async def test_the_snapshots_that_are_shown_are_read_back(self, bench: Bench[D]) -> None:
        wanted = replace(self.exposure(bench), snapshots=(await bench.make_snapshot("monday"),))
        assert await self.of(bench).expose(wanted) == wanted
        assert await self.of(bench).list_exposures() == (wanted,)
        none_yet = replace(wanted, snapshots=())
        assert await self.of(bench).expose(none_yet) == none_yet
        assert await self.of(bench).list_exposures() == (none_yet,)

    async def test_a_snapshot_is_read_and_nobody_writes_to_it(self, bench: Bench[D]) -> None:
        snapshot = await bench.make_snapshot("monday")
        await self.of(bench).expose(replace(self.exposure(bench), snapshots=(snapshot,)))
        assert await bench.may_read_snapshot("docs", snapshot)
        assert not await bench.may_write_snapshot("docs", snapshot)
        assert await bench.may_write("docs")

    async def test_a_share_shows_no_snapshots_unless_it_is_asked_to(self, bench: Bench[D]) -> None:
        snapshot = await bench.make_snapshot("monday")
        await self.of(bench).expose(replace(self.exposure(bench), snapshots=(snapshot,)))
        await self.of(bench).expose(self.exposure(bench))
        assert not await bench.may_read_snapshot("docs", snapshot)
        assert await bench.may_write("docs")

    async def test_a_snapshot_that_is_shown_no_more_is_in_use_by_nobody(self, bench: Bench[D]) -> None:
        snapshot = await bench.make_snapshot("monday")
        await self.of(bench).expose(replace(self.exposure(bench), snapshots=(snapshot,)))
        held = await bench.hold_snapshot("docs", snapshot)
        await self.of(bench).expose(replace(self.exposure(bench), snapshots=()))
        assert not await bench.is_in_use(snapshot)
        assert not await bench.may_read_snapshot("docs", snapshot)
        await held.close()

    async def test_who_uses_a_share_is_listed_with_what_he_holds(self, bench: Bench[D]) -> None:
        await self.of(bench).expose(self.exposure(bench))
        held = await bench.hold("docs")
        found = [session for session in await self.of(bench).list_sessions() if session.files]
        assert [(session.share, session.client) for session in found] == [("docs", "127.0.0.1")]
        assert [(file.path.rpartition("/")[2], file.is_writing) for file in found[0].files] == [("held", True)]
        await held.close()

    async def test_a_withdrawn_share_is_offered_to_nobody(self, bench: Bench[D]) -> None:
        await self.of(bench).expose(self.exposure(bench))
        held = await bench.hold("docs")
        await self.of(bench).withdraw("docs")
        assert await self.of(bench).list_exposures() == ()
        assert not await held.write()
        assert not await bench.may_read("docs")
        await held.close()

    async def test_withdrawing_the_absent_is_success(self, bench: Bench[D]) -> None:
        await self.of(bench).withdraw("docs")
        await self.of(bench).expose(self.exposure(bench))
        await self.of(bench).withdraw("docs")
        await self.of(bench).withdraw("docs")
        assert await self.of(bench).list_exposures() == ()

    async def test_a_withdrawn_share_takes_no_client_from_another(self, bench: Bench[D]) -> None:
        await self.of(bench).expose(self.exposure(bench))
        await self.of(bench).expose(self.exposure(bench, "more"))
        held = await bench.hold("more")
        await self.of(bench).withdraw("docs")
        assert await held.write()
        assert [shown.share for shown in await self.of(bench).list_exposures()] == ["more"]
        await held.close()

    async def test_what_others_offer_is_neither_listed_nor_touched(self, bench: Bench[D]) -> None:
        await self.of(bench).expose(self.exposure(bench))
        await bench.offer_elsewhere("theirs")
        await self.of(bench).expose(self.let_another_in(self.exposure(bench)))
        assert [shown.share for shown in await self.of(bench).list_exposures()] == ["docs"]
        await self.of(bench).withdraw("theirs")
        await self.of(bench).withdraw("docs")
        assert await bench.is_offered_elsewhere("theirs")


class SmbContract(ShareContract[SmbDriver, SmbExposure]):
    """What every driver of SMB does."""

    @pytest.fixture
    async def bench(self) -> Bench[SmbDriver]:
        """A bench whose driver has the `accounts()`."""
        raise AssertionError("override this fixture")

    def exposure(self, bench: Bench[SmbDriver], share: str = "docs", *, can_write: bool = True) -> SmbExposure:
        path = bench.path_of(share)
        return SmbExposure(share, path, **{"write_users" if can_write else "read_users": (USER,)})  # type: ignore[arg-type]

    def let_another_in(self, exposure: SmbExposure) -> SmbExposure:
        return replace(exposure, read_users=(*exposure.read_users, OTHER), read_groups=(GROUP,), is_hidden=True)

    def let_nobody_in(self, exposure: SmbExposure) -> SmbExposure:
        return SmbExposure(exposure.share, exposure.path)

    async def test_a_name_that_somebody_else_offers_is_refused(self, bench: Bench[SmbDriver]) -> None:
        await bench.driver.expose(self.exposure(bench, "more"))
        await bench.offer_elsewhere("theirs")
        with pytest.raises(ConflictError):
            await bench.driver.expose(replace(self.exposure(bench), share="theirs"))
        assert await bench.is_offered_elsewhere("theirs")

    async def test_a_member_of_a_group_may_what_the_group_may(self, bench: Bench[SmbDriver]) -> None:
        wanted = replace(self.let_nobody_in(self.exposure(bench)), write_groups=(GROUP,))
        await bench.driver.expose(wanted)
        assert not await bench.may_read("docs")
        await bench.driver.set_accounts(*accounts(members=(USER,)))
        assert await bench.may_write("docs")

    async def test_exactly_the_accounts_that_are_asked_for_are_there(self, bench: Bench[SmbDriver]) -> None:
        users, groups = accounts(members=(OTHER, USER))
        await bench.driver.set_accounts(users, groups)
        assert await bench.driver.list_accounts() == ((USER, OTHER), (ShareGroup(GROUP, GID, (USER, OTHER)),))
        await bench.driver.set_accounts(users, groups)
        assert await bench.driver.list_accounts() == ((USER, OTHER), (ShareGroup(GROUP, GID, (USER, OTHER)),))
        await bench.driver.set_accounts(users[:1], ())
        assert await bench.driver.list_accounts() == ((USER,), ())

    async def test_an_account_of_the_system_is_refused_and_nothing_changed(self, bench: Bench[SmbDriver]) -> None:
        before = await bench.driver.list_accounts()
        users, _ = accounts()
        for wrong in (replace(users[1], name="root"), replace(users[1], uid=0)):
            with pytest.raises(ConflictError):
                await bench.driver.set_accounts((users[0], wrong), ())
        with pytest.raises(ConflictError):
            await bench.driver.set_accounts(users, (ShareGroup("root", GID, ()),))
        assert await bench.driver.list_accounts() == before

    async def test_other_users_keep_their_sessions_when_accounts_change(self, bench: Bench[SmbDriver]) -> None:
        await bench.driver.expose(self.exposure(bench))
        held = await bench.hold("docs")
        users, _ = accounts()
        await bench.driver.set_accounts(users[:1], ())
        assert await held.write()
        await held.close()

    async def test_sessions_of_a_user_who_is_removed_end(self, bench: Bench[SmbDriver]) -> None:
        await bench.driver.expose(self.exposure(bench))
        held = await bench.hold("docs")
        users, groups = accounts()
        await bench.driver.set_accounts(users[1:], groups)
        assert not await held.write()
        assert not await bench.may_read("docs")
        await held.close()

    async def test_sessions_of_a_user_who_leaves_a_group_end(self, bench: Bench[SmbDriver]) -> None:
        await bench.driver.set_accounts(*accounts(members=(USER,)))
        await bench.driver.expose(replace(self.let_nobody_in(self.exposure(bench)), write_groups=(GROUP,)))
        held = await bench.hold("docs")
        await bench.driver.set_accounts(*accounts())
        assert not await held.write()
        await held.close()

    async def test_sessions_of_a_user_with_a_new_password_end(self, bench: Bench[SmbDriver]) -> None:
        await bench.driver.expose(self.exposure(bench))
        held = await bench.hold("docs")
        users, groups = accounts()
        anew = ShareUser(USER, UID, CHANGED, "2")
        await bench.driver.set_accounts((anew, *users[1:]), groups)
        assert not await held.write()
        assert not await bench.may_read("docs")  # with the former password
        await held.close()


class NfsContract(ShareContract[NfsDriver, NfsExposure]):
    """What every driver of NFS does."""

    @pytest.fixture
    async def bench(self) -> Bench[NfsDriver]:
        """A bench."""
        raise AssertionError("override this fixture")

    def exposure(self, bench: Bench[NfsDriver], share: str = "docs", *, can_write: bool = True) -> NfsExposure:
        return NfsExposure(share, bench.path_of(share), FSIDS[share], (NfsClient("127.0.0.1", not can_write),))

    def let_another_in(self, exposure: NfsExposure) -> NfsExposure:
        return replace(exposure, clients=(NfsClient("10.99.0.0/16"), *exposure.clients))

    def let_nobody_in(self, exposure: NfsExposure) -> NfsExposure:
        return replace(exposure, clients=(NfsClient("10.99.0.0/16"),))

    async def test_files_where_snapshots_would_be_seen_are_refused(self, bench: Bench[NfsDriver]) -> None:
        wanted = replace(self.exposure(bench), snapshots=())
        own = Path(bench.path_of("docs")) / SNAPSHOTS_FOLDER
        own.mkdir()
        (own / "mine").write_text("mine")
        try:
            with pytest.raises(ConflictError):
                await bench.driver.expose(wanted)
        finally:
            (own / "mine").unlink()
            own.rmdir()
        assert await bench.driver.expose(wanted) == wanted


def accounts(members: tuple[str, ...] = ()) -> tuple[tuple[ShareUser, ...], tuple[ShareGroup, ...]]:
    """USER and OTHER, and GROUP with these members."""
    users = (ShareUser(USER, UID, PASSWORD, "1"), ShareUser(OTHER, UID + 1, PASSWORD, "1"))
    return users, (ShareGroup(GROUP, GID, members),)
