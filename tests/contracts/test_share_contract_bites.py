"""The kits of the share roles reject drivers with one fault each."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.hooks.share import NfsExposure, ShareGroup, ShareSession, ShareUser, SmbExposure
from holdfast.testing.memory_share import NOTHING, READ, WRITE, MemoryNfs, MemorySession, MemorySmb
from holdfast.testing.share import Bench, NfsContract, SmbContract
from tests.contracts.memory_share_benches import NfsBench, smb_bench


class ForgetsReadOnly(MemorySmb):
    async def expose(self, exposure: SmbExposure) -> SmbExposure:
        await super().expose(exposure)
        return replace(exposure, is_read_only=False)


class ListsNothing(MemorySmb):
    async def list_exposures(self) -> tuple[SmbExposure, ...]:
        return ()


class HasAShareOfItsOwn(MemorySmb):
    async def list_exposures(self) -> tuple[SmbExposure, ...]:
        return (SmbExposure("homes", "/home"), *await super().list_exposures())


class InventsSessions(MemorySmb):
    async def list_sessions(self) -> tuple[ShareSession, ...]:
        return (ShareSession("docs", "10.0.0.1", "root"),)


class LetsNobodyWrite(MemorySmb):
    def right_of(self, exposure: SmbExposure, client: str, user: str | None) -> int:
        return min(READ, super().right_of(exposure, client, user))


class LetsReadersWrite(MemorySmb):
    def right_of(self, exposure: SmbExposure, client: str, user: str | None) -> int:
        return WRITE if super().right_of(exposure, client, user) and not exposure.is_read_only else READ


class IgnoresReadOnly(MemorySmb):
    def right_of(self, exposure: SmbExposure, client: str, user: str | None) -> int:
        return super().right_of(replace(exposure, is_read_only=False), client, user)


class TakesAnEmptyListForEverybody(MemorySmb):
    def right_of(self, exposure: SmbExposure, client: str, user: str | None) -> int:
        is_listed = exposure.read_users or exposure.write_users or exposure.read_groups or exposure.write_groups
        return super().right_of(exposure, client, user) if is_listed else READ


class DropsAllAtEachChange(MemorySmb):
    async def expose(self, exposure: SmbExposure) -> SmbExposure:
        for session in self.served.sessions:
            session.is_open = False
        return await super().expose(exposure)


class TellsRightsOnlyOnce(MemorySmb):
    async def expose(self, exposure: SmbExposure) -> SmbExposure:
        self.served.exposures[exposure.share] = exposure
        return exposure


class NeverGivesBack(MemorySmb):
    async def expose(self, exposure: SmbExposure) -> SmbExposure:
        known = self.served.exposures.get(exposure.share)
        await super().expose(
            replace(exposure, is_read_only=exposure.is_read_only or bool(known and known.is_read_only))
        )
        return exposure


class MakesDirectories(MemorySmb):
    def check_path(self, path: str) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)


class FollowsLinks(MemorySmb):
    def check_path(self, path: str) -> None:
        super().check_path(str(Path(path).resolve()))


class ListsNoFiles(MemorySmb):
    async def list_sessions(self) -> tuple[ShareSession, ...]:
        return tuple(replace(session, files=()) for session in await super().list_sessions())


class OnlyHidesWhatIsWithdrawn(MemorySmb):
    async def withdraw(self, share: str) -> None:
        self.served.exposures.pop(share, None)


class NeedsShareToWithdraw(MemorySmb):
    async def withdraw(self, share: str) -> None:
        del self.served.exposures[share]
        await super().withdraw(share)


class WithdrawsWithEverybody(MemorySmb):
    async def withdraw(self, share: str) -> None:
        await super().withdraw(share)
        for session in self.served.sessions:
            session.is_open = False


class RemovesWhatOthersOffer(MemorySmb):
    async def withdraw(self, share: str) -> None:
        await super().withdraw(share)
        self.served.foreign.pop(share, None)


class TakesOverWhatOthersOffer(MemorySmb):
    async def expose(self, exposure: SmbExposure) -> SmbExposure:
        self.served.foreign.pop(exposure.share, None)
        return await super().expose(exposure)


class KnowsNoGroups(MemorySmb):
    def right_of(self, exposure: SmbExposure, client: str, user: str | None) -> int:
        return super().right_of(replace(exposure, write_groups=(), read_groups=()), client, user)


class KeepsAccounts(MemorySmb):
    async def set_accounts(self, users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...]) -> None:
        kept = tuple(user for name, user in self.users.items() if name not in {u.name for u in users})
        await super().set_accounts((*users, *kept), groups)


class TakesOverTheSystemsAccounts(MemorySmb):
    def refuse_foreign(self, users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...]) -> None:
        pass


class RefusesTooLate(MemorySmb):
    def refuse_foreign(self, users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...]) -> None:
        super_refuses = super().refuse_foreign
        try:
            super_refuses(users, groups)
        except Exception:
            self.groups = {}
            raise


class DropsAllWhenAccountsChange(MemorySmb):
    async def set_accounts(self, users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...]) -> None:
        await super().set_accounts(users, groups)
        for session in self.served.sessions:
            session.is_open = False


class _KeepsSessions(MemorySmb):
    def ends(self, session: MemorySession, users: tuple[ShareUser, ...]) -> bool:
        raise AssertionError("override this")

    async def set_accounts(self, users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...]) -> None:
        kept = [session for session in self.served.sessions if not self.ends(session, users)]
        rights = [session.right for session in kept]
        await super().set_accounts(users, groups)
        for session, right in zip(kept, rights, strict=True):
            session.is_open, session.right = True, right


class KeepsSessionsOfWhoeverIsGone(_KeepsSessions):
    def ends(self, session: MemorySession, users: tuple[ShareUser, ...]) -> bool:
        return session.user in {user.name for user in users}


class KeepsSessionsOfWhoeverIsThere(_KeepsSessions):
    def ends(self, session: MemorySession, users: tuple[ShareUser, ...]) -> bool:
        return session.user not in {user.name for user in users}


class KeepsThePassword(MemorySmb):
    async def set_accounts(self, users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...]) -> None:
        known = self.users
        await super().set_accounts(
            tuple(replace(user, password=known[user.name].password) if user.name in known else user for user in users),
            groups,
        )


class ExportsToEverybody(MemoryNfs):
    def right_of(self, exposure: NfsExposure, client: str, user: str | None) -> int:
        return super().right_of(exposure, client, user) or READ


class LetsReadingHostsWrite(MemoryNfs):
    def right_of(self, exposure: NfsExposure, client: str, user: str | None) -> int:
        return NOTHING if (found := super().right_of(exposure, client, user)) == NOTHING else max(found, WRITE)


class ReordersClients(MemoryNfs):
    async def list_exposures(self) -> tuple[NfsExposure, ...]:
        return tuple(replace(shown, clients=shown.clients[::-1]) for shown in await super().list_exposures())


class ForgetsSnapshots(MemorySmb):
    async def list_exposures(self) -> tuple[SmbExposure, ...]:
        return tuple(replace(shown, snapshots=None) for shown in await super().list_exposures())


class LetsClientsWriteToSnapshots(MemorySmb):
    writes_snapshots = True


class ShowsWhatItOnceShowed(MemorySmb):
    async def expose(self, exposure: SmbExposure) -> SmbExposure:
        before = self.shown(exposure.share)
        await super().expose(exposure)
        self.served.exposures[exposure.share] = replace(exposure, snapshots=exposure.snapshots or before)
        return exposure


class LeavesSnapshotsOpen(MemorySmb):
    def let_go(self) -> None:
        pass


class HidesFilesOfTheShare(MemoryNfs):
    def check_folder(self, exposure: NfsExposure) -> None:
        pass


SMB_FAULTS: tuple[tuple[type[MemorySmb], str], ...] = (
    (ForgetsReadOnly, "test_what_is_exposed_is_read_back_and_listed"),
    (ListsNothing, "test_what_is_exposed_is_read_back_and_listed"),
    (HasAShareOfItsOwn, "test_nothing_is_offered_before_it_is_exposed"),
    (InventsSessions, "test_nothing_is_offered_before_it_is_exposed"),
    (LetsNobodyWrite, "test_who_may_write_writes"),
    (LetsReadersWrite, "test_who_may_only_read_only_reads"),
    (IgnoresReadOnly, "test_nobody_writes_to_what_is_read_only"),
    (TakesAnEmptyListForEverybody, "test_who_is_in_no_list_has_no_access"),
    (DropsAllAtEachChange, "test_who_may_do_as_much_as_before_notices_nothing_of_a_change"),
    (TellsRightsOnlyOnce, "test_who_may_do_less_is_held_to_it_in_what_he_has_open"),
    (NeverGivesBack, "test_what_was_taken_is_given_back"),
    (MakesDirectories, "test_a_directory_that_is_not_there_is_refused"),
    (FollowsLinks, "test_a_symbolic_link_in_the_path_is_refused"),
    (ListsNoFiles, "test_who_uses_a_share_is_listed_with_what_he_holds"),
    (OnlyHidesWhatIsWithdrawn, "test_a_withdrawn_share_is_offered_to_nobody"),
    (NeedsShareToWithdraw, "test_withdrawing_the_absent_is_success"),
    (WithdrawsWithEverybody, "test_a_withdrawn_share_takes_no_client_from_another"),
    (RemovesWhatOthersOffer, "test_what_others_offer_is_neither_listed_nor_touched"),
    (TakesOverWhatOthersOffer, "test_a_name_that_somebody_else_offers_is_refused"),
    (KnowsNoGroups, "test_a_member_of_a_group_may_what_the_group_may"),
    (KeepsAccounts, "test_exactly_the_accounts_that_are_asked_for_are_there"),
    (TakesOverTheSystemsAccounts, "test_an_account_of_the_system_is_refused_and_nothing_changed"),
    (RefusesTooLate, "test_an_account_of_the_system_is_refused_and_nothing_changed"),
    (DropsAllWhenAccountsChange, "test_other_users_keep_their_sessions_when_accounts_change"),
    (KeepsSessionsOfWhoeverIsThere, "test_sessions_of_a_user_who_leaves_a_group_end"),
    (KeepsSessionsOfWhoeverIsGone, "test_sessions_of_a_user_who_is_removed_end"),
    (KeepsSessionsOfWhoeverIsThere, "test_sessions_of_a_user_with_a_new_password_end"),
    (KeepsThePassword, "test_sessions_of_a_user_with_a_new_password_end"),
    (ForgetsSnapshots, "test_the_snapshots_that_are_shown_are_read_back"),
    (LetsClientsWriteToSnapshots, "test_a_snapshot_is_read_and_nobody_writes_to_it"),
    (ShowsWhatItOnceShowed, "test_a_share_shows_no_snapshots_unless_it_is_asked_to"),
    (LeavesSnapshotsOpen, "test_a_snapshot_that_is_shown_no_more_is_in_use_by_nobody"),
)
NFS_FAULTS: tuple[tuple[type[MemoryNfs], str], ...] = (
    (ExportsToEverybody, "test_who_is_in_no_list_has_no_access"),
    (LetsReadingHostsWrite, "test_who_may_only_read_only_reads"),
    (ReordersClients, "test_what_is_exposed_is_read_back_and_listed"),
    (HidesFilesOfTheShare, "test_files_where_snapshots_would_be_seen_are_refused"),
)


async def judge(contract: Any, bench: Bench[Any], sentence: str) -> None:
    """Hold a driver to one sentence of a kit, as pytest would."""
    outcome = getattr(contract, sentence)(bench)
    assert inspect.isawaitable(outcome)
    await outcome


@contextlib.contextmanager
def rejected() -> Iterator[None]:
    """The block must raise something that fails a test."""
    try:
        yield
    except (Exception, pytest.fail.Exception):
        return
    pytest.fail("the kit accepted a faulty driver")


@pytest.mark.parametrize(("faulty", "sentence"), SMB_FAULTS)
async def test_a_driver_of_smb_with_one_fault_is_rejected(
    faulty: type[MemorySmb], sentence: str, tmp_path: Path
) -> None:
    bench = await smb_bench(faulty(), tmp_path)
    with rejected():
        await judge(SmbContract(), bench, sentence)


@pytest.mark.parametrize(("faulty", "sentence"), NFS_FAULTS)
async def test_a_driver_of_nfs_with_one_fault_is_rejected(
    faulty: type[MemoryNfs], sentence: str, tmp_path: Path
) -> None:
    with rejected():
        await judge(NfsContract(), NfsBench(faulty(), tmp_path), sentence)


def test_each_sentence_is_shown_to_bite() -> None:
    sentences = {name for name in dir(SmbContract) if name.startswith("test_")}
    assert sentences == {sentence for _, sentence in SMB_FAULTS}
    of_nfs = {name for name in dir(NfsContract) if name.startswith("test_")}
    assert of_nfs - sentences <= {sentence for _, sentence in NFS_FAULTS}
