"""The kit of the copy role rejects drivers with one fault each; its reader of trees sees each kind of difference."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import DeniedError, HoldfastError, SystemCommandError, UnavailableError
from holdfast.hooks.copying import CopyAction, CopyOptions, CopyPreview, Tls
from holdfast.hooks.replication import (
    AgentSpec,
    CopyNote,
    CopyProgress,
    CopyResult,
    CopyRun,
    RemoteReplica,
    ReplicaShare,
)
from holdfast.testing.copy import CopyContract, open_bench
from holdfast.testing.memory_copy import Count, MemoryCopyDriver
from holdfast.testing.trees import Entry, acl, differences, make_tree, read_tree
from tests.contracts.copy_changes_faults import FAULTS_OF_LISTS

Progress = Callable[[CopyProgress], None]


class ForgetsTheOwner(MemoryCopyDriver):
    def set_attributes(self, entry: Entry, path: Path) -> None:
        super().set_attributes(replace(entry, owner=0, group=0), path)


class ForgetsTheMode(MemoryCopyDriver):
    def set_attributes(self, entry: Entry, path: Path) -> None:
        super().set_attributes(replace(entry, mode=entry.mode & 0o777), path)


class ForgetsExtendedAttributes(MemoryCopyDriver):
    def set_attributes(self, entry: Entry, path: Path) -> None:
        kept = tuple(pair for pair in entry.attributes if pair[0].startswith("system."))
        super().set_attributes(replace(entry, attributes=kept), path)


class ForgetsAcls(MemoryCopyDriver):
    def set_attributes(self, entry: Entry, path: Path) -> None:
        kept = tuple(pair for pair in entry.attributes if not pair[0].startswith("system."))
        super().set_attributes(replace(entry, attributes=kept), path)


class ForgetsAttributesOfItsOwnPrefix(MemoryCopyDriver):
    def set_attributes(self, entry: Entry, path: Path) -> None:
        kept = tuple(pair for pair in entry.attributes if not pair[0].startswith("user.rsync."))
        super().set_attributes(replace(entry, attributes=kept), path)


class RoundsTimesToSeconds(MemoryCopyDriver):
    def set_attributes(self, entry: Entry, path: Path) -> None:
        whole_ns = (entry.modified_ns or 0) // 10**9 * 10**9
        super().set_attributes(replace(entry, modified_ns=whole_ns), path)


class ComparesWholeSeconds(MemoryCopyDriver):
    def copy_content(self, source: Path, path: Path, entry: Entry, count: Count) -> None:
        seconds = (entry.modified_ns or 0) // 10**9
        if not path.exists() or (path.stat().st_size, path.stat().st_mtime_ns // 10**9) != (entry.size_bytes, seconds):
            super().copy_content(source, path, entry, count)


class BreaksHardLinks(MemoryCopyDriver):
    def link(self, path: Path, first: Path) -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(first.read_bytes())


class FillsHoles(MemoryCopyDriver):
    def write_content(self, source: Path, old: Path, fresh: Path) -> int:
        literal_bytes = super().write_content(source, old, fresh)
        fresh.write_bytes(source.read_bytes())
        return literal_bytes


class FollowsLinks(MemoryCopyDriver):
    def copy_entry(self, name: bytes, entry: Entry, source: Path, replica: Path, count: Count) -> None:
        if entry.kind == "l" and (source / os.fsdecode(name)).is_dir():
            (replica / os.fsdecode(name)).mkdir(exist_ok=True)
            return
        super().copy_entry(name, entry, source, replica, count)

    def set_attributes(self, entry: Entry, path: Path) -> None:
        if path.is_dir() == (entry.kind == "d"):
            super().set_attributes(entry, path)


class LeavesOutDevices(MemoryCopyDriver):
    def copy_entry(self, name: bytes, entry: Entry, source: Path, replica: Path, count: Count) -> None:
        if entry.device is None:
            super().copy_entry(name, entry, source, replica, count)

    def set_attributes(self, entry: Entry, path: Path) -> None:
        if entry.device is None:
            super().set_attributes(entry, path)


class DeletesNothing(MemoryCopyDriver):
    def delete_extra(self, wanted: dict[bytes, Entry], replica: Path, count: Count) -> None:
        return


class DeletesBeforeItLooks(MemoryCopyDriver):
    def check_source(self, run: CopyRun) -> Path:
        if not Path(run.source).is_dir():
            self.delete_extra({}, Path(self.admit(run).path), Count())
        return super().check_source(run)


class EmptiesTheReplica(MemoryCopyDriver):
    def refuse_to_empty(self, wanted: dict[bytes, Entry], replica: Path) -> None:
        return


class DeletesLast(MemoryCopyDriver):
    def delete_extra(self, wanted: dict[bytes, Entry], replica: Path, count: Count) -> None:
        self.postponed = (wanted, replica, count)

    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        result = await super().copy(run, progress)
        super().delete_extra(*self.postponed)
        return result


class SendsAllAgain(MemoryCopyDriver):
    def copy_content(self, source: Path, path: Path, entry: Entry, count: Count) -> None:
        path.unlink(missing_ok=True)
        super().copy_content(source, path, entry, count)


class SendsWholeFiles(MemoryCopyDriver):
    def write_content(self, source: Path, old: Path, fresh: Path) -> int:
        super().write_content(source, old, fresh)
        return source.stat().st_size


class LeavesOtherKindsInPlace(MemoryCopyDriver):
    def copy_entry(self, name: bytes, entry: Entry, source: Path, replica: Path, count: Count) -> None:
        if entry.kind != "p" or not (replica / os.fsdecode(name)).exists():
            super().copy_entry(name, entry, source, replica, count)

    def delete_extra(self, wanted: dict[bytes, Entry], replica: Path, count: Count) -> None:
        super().delete_extra(
            {k: replace(v, kind="-") if v.kind == "p" else v for k, v in wanted.items()}, replica, count
        )


class LooksAtContentOnly(MemoryCopyDriver):
    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        self.before = read_tree(Path(self.admit(run).path))
        self.root = Path(self.admit(run).path)
        return await super().copy(run, progress)

    def set_attributes(self, entry: Entry, path: Path) -> None:
        old = self.before.get(os.fsencode(path.relative_to(self.root)))
        if old is None or old.content != entry.content:
            super().set_attributes(entry, path)


class LeavesWhatIsHalfWritten(MemoryCopyDriver):
    def write_content(self, source: Path, old: Path, fresh: Path) -> int:
        try:
            return super().write_content(source, old, fresh)
        except OSError:
            fresh.rename(old)
            raise


class TellsNoProgress(MemoryCopyDriver):
    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        return await super().copy(run, lambda record: None)


class GivesUpAfterACancellation(MemoryCopyDriver):
    is_begun = False

    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        if self.is_begun:
            raise SystemCommandError(["copy"], 1, "the lock of the run before is still there")
        self.is_begun = True
        result = await super().copy(run, progress)
        self.is_begun = False
        return result


class AdmitsEverybody(MemoryCopyDriver):
    def admit(self, run: CopyRun) -> ReplicaShare:
        return self.replicas_of(run.agent)[run.replica]


class ForgetsTheUser(MemoryCopyDriver):
    def admit(self, run: CopyRun) -> ReplicaShare:
        share = self.replicas_of(run.agent).get(run.replica)
        return super().admit(replace(run, user=share.user) if share else run)


class TakesAnyPasswordOfTheAgent(MemoryCopyDriver):
    def admit(self, run: CopyRun) -> ReplicaShare:
        shares = self.replicas_of(run.agent)
        for share in shares.values():
            if (share.user, share.password.reveal()) == (run.user, run.password.reveal()) and run.replica in shares:
                own = shares[run.replica]
                return super().admit(replace(run, user=own.user, password=own.password))
        return super().admit(run)


class ForgetsTheAllowedSources(MemoryCopyDriver):
    def admit(self, run: CopyRun) -> ReplicaShare:
        share = self.replicas_of(run.agent).get(run.replica)
        self.address = share.allowed_sources[0] if share and share.allowed_sources else "127.0.0.1"
        return super().admit(run)


class LetsInWhereNobodyIsAllowed(MemoryCopyDriver):
    def admit(self, run: CopyRun) -> ReplicaShare:
        share = self.replicas_of(run.agent).get(run.replica)
        return share if share and not share.allowed_sources else super().admit(run)


class ShowsThePassword(MemoryCopyDriver):
    def admit(self, run: CopyRun) -> ReplicaShare:
        try:
            return super().admit(run)
        except DeniedError as reason:
            right = self.replicas_of(run.agent)[run.replica].password.reveal()
            raise DeniedError(f"{reason.message}: it is not {right}") from reason


class DeniesTheUnknown(MemoryCopyDriver):
    def admit(self, run: CopyRun) -> ReplicaShare:
        if run.replica not in self.replicas_of(run.agent):
            raise DeniedError("no")
        return super().admit(run)


class MakesTheMissingReplica(MemoryCopyDriver):
    def admit(self, run: CopyRun) -> ReplicaShare:
        Path(self.replicas_of(run.agent)[run.replica].path).mkdir(exist_ok=True)
        return super().admit(run)


class LeavesErrorsUntranslated(MemoryCopyDriver):
    def replicas_of(self, agent: AgentSpec) -> dict[str, ReplicaShare]:
        try:
            return super().replicas_of(agent)
        except UnavailableError as reason:
            raise SystemCommandError(["copy"], 10, reason.message) from reason


class VerifiesNothing(MemoryCopyDriver):
    async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        self.admit(run)
        return ()


class FindsFault(MemoryCopyDriver):
    async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        return (*await super().verify(run, sample=sample), "deep differs in mood")


class IgnoresTheSample(MemoryCopyDriver):
    async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        return await super().verify(run, sample=())


class LooksAtTheSampleOnly(MemoryCopyDriver):
    async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        return await super().verify(run, sample=sample) if sample else ()


class RepairsInsteadOfVerifying(MemoryCopyDriver):
    async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        told = await super().verify(run, sample=sample)
        await self.copy(run, lambda record: None)
        return told


class AddsReplicas(MemoryCopyDriver):
    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        old = self.network.agents.get((spec.address, spec.port), {})
        await super().start_agent(spec, (*old.values(), *replicas))


class KeepsOldPasswords(MemoryCopyDriver):
    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        old = self.network.agents.get((spec.address, spec.port), {})
        kept = (replace(r, password=old[r.name].password) if r.name in old else r for r in replicas)
        await super().start_agent(spec, tuple(kept))


class RefusesToStartTwice(MemoryCopyDriver):
    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        if self.spec == spec:
            raise UnavailableError("it already runs")
        await super().start_agent(spec, replicas)


class NeedsAReplica(MemoryCopyDriver):
    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        if replicas:
            await super().start_agent(spec, replicas)


class StaysOnTheOldPort(MemoryCopyDriver):
    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        old = self.spec
        await super().start_agent(spec, replicas)
        if old is not None and old != spec:
            where = spec.address, spec.port
            self.network.agents[old.address, old.port] = self.network.agents[where]


class CutsCopiesWhenItChanges(MemoryCopyDriver):
    starts = 0

    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        self.starts += 1
        await super().start_agent(spec, replicas)

    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        starts = self.starts
        result = await super().copy(run, progress)
        if starts != self.starts:
            raise UnavailableError("connection reset by peer")
        return result


class NeverStops(MemoryCopyDriver):
    async def stop_agent(self) -> None:
        return


class ClaimsToRun(MemoryCopyDriver):
    async def is_agent_running(self) -> bool:
        return True


class StopsOnlyOnce(MemoryCopyDriver):
    async def stop_agent(self) -> None:
        if self.spec is None:
            raise UnavailableError("it does not run")
        await super().stop_agent()


class BrowsesNothing(MemoryCopyDriver):
    async def browse(self, agent: AgentSpec) -> tuple[RemoteReplica, ...]:
        self.replicas_of(agent)
        return ()


class ForgetsNotes(MemoryCopyDriver):
    async def leave_note(self, run: CopyRun, note: CopyNote) -> None:
        self.admit(run)


class KeepsTheFirstNote(MemoryCopyDriver):
    async def leave_note(self, run: CopyRun, note: CopyNote) -> None:
        self.network.notes[run.agent.address, run.agent.port].setdefault(self.admit(run).name, note)


class LaysNotesIntoTheCopy(MemoryCopyDriver):
    def admit(self, run: CopyRun) -> ReplicaShare:
        share = super().admit(run)
        Path(share.path, ".note").write_text(run.user)
        return share


class TakesNotesFromEverybody(MemoryCopyDriver):
    async def leave_note(self, run: CopyRun, note: CopyNote) -> None:
        self.replicas_of(run.agent)
        self.network.notes[run.agent.address, run.agent.port][run.replica] = note


class LosesNotesWhenItChanges(MemoryCopyDriver):
    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        await self.stop_agent()
        await super().start_agent(spec, replicas)


class KeepsNotesOfWhatIsGone(MemoryCopyDriver):
    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        old = await self.read_notes()
        await super().start_agent(spec, replicas)
        self.network.notes[spec.address, spec.port] = dict(old)


class KeepsNotesWithoutAnAgent(MemoryCopyDriver):
    last: Mapping[str, CopyNote] = {}

    async def leave_note(self, run: CopyRun, note: CopyNote) -> None:
        await super().leave_note(run, note)
        self.last = await super().read_notes()

    async def read_notes(self) -> Mapping[str, CopyNote]:
        return self.last


class KnowsNoTls(MemoryCopyDriver):
    def greet(self, source: Tls | None, agent: Tls | None) -> None:
        if source or agent:
            raise UnavailableError("wrong version number")


class AnswersInClear(MemoryCopyDriver):
    def greet(self, source: Tls | None, agent: Tls | None) -> None:
        if source is not None:
            super().greet(source, agent)


class GoesOnInClear(MemoryCopyDriver):
    def greet(self, source: Tls | None, agent: Tls | None) -> None:
        if agent is not None:
            super().greet(source, agent)


class TrustsEverySource(MemoryCopyDriver):
    def greet(self, source: Tls | None, agent: Tls | None) -> None:
        trusted = source.trusted if source else ()
        own = Path(source.certificate_file).read_text() if source else ""
        super().greet(source, replace(agent, trusted=(*agent.trusted, *trusted, own)) if agent else agent)


class TrustsEveryAgent(MemoryCopyDriver):
    def greet(self, source: Tls | None, agent: Tls | None) -> None:
        shown = Path(agent.certificate_file).read_text() if agent else ""
        super().greet(replace(source, trusted=(shown,)) if source else source, agent)


class LooksAtNoDate(MemoryCopyDriver):
    def believes(self, one: Tls, other: Tls) -> bool:
        return Path(other.certificate_file).read_text() in one.trusted


class TrustsForGood(MemoryCopyDriver):
    trusted: tuple[str, ...] = ()

    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        if spec.tls is not None:
            self.trusted = (*self.trusted, *spec.tls.trusted)
            spec = replace(spec, tls=replace(spec.tls, trusted=self.trusted))
        await super().start_agent(spec, replicas)


class StaysEncrypted(MemoryCopyDriver):
    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        tls = spec.tls or (self.spec.tls if self.spec else None)
        await super().start_agent(replace(spec, tls=tls), replicas)


class ForgetsTheFormerPassword(MemoryCopyDriver):
    async def start_agent(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        await super().start_agent(spec, tuple(replace(share, former_password=None) for share in replicas))


class CopiesTheExcluded(MemoryCopyDriver):
    def excluded(self, options: CopyOptions, tree: dict[bytes, Entry]) -> dict[bytes, Entry]:
        return {}


class DeletesTheExcluded(MemoryCopyDriver):
    def delete_extra(self, wanted: dict[bytes, Entry], replica: Path, count: Count) -> None:
        own = {name: entry for name, entry in wanted.items() if not name.startswith((b"theirs", b"cache"))}
        super().delete_extra(own, replica, count)


class DeletesUnasked(MemoryCopyDriver):
    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        return await super().copy(replace(run, options=replace(run.options, is_deleting=True)), progress)


class RefusesEveryEmptySource(MemoryCopyDriver):
    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        self.refuse_to_empty(read_tree(Path(run.source)), Path(self.admit(run).path))
        return await super().copy(run, progress)


class KnowsNoLimit(MemoryCopyDriver):
    def limit(self, run: CopyRun) -> int | None:
        return None


class PassesOverTheReplicasLimit(MemoryCopyDriver):
    def limit(self, run: CopyRun) -> int | None:
        return run.options.bandwidth_bytes_s


class CompressesNothing(MemoryCopyDriver):
    def on_the_wire(self, options: CopyOptions, literal_bytes: int) -> int:
        return literal_bytes


class StartsOver(MemoryCopyDriver):
    def keep_partial(self, key: tuple[str, bytes], content: bytes) -> None:
        return


class LooksAheadByCopying(MemoryCopyDriver):
    async def preview(self, run: CopyRun, *, most: int) -> CopyPreview:
        seen = await super().preview(run, most=most)
        await self.copy(run, lambda record: None)
        return seen


class CountsWhatItNames(MemoryCopyDriver):
    async def preview(self, run: CopyRun, *, most: int) -> CopyPreview:
        seen = await super().preview(run, most=most)
        deleted = sum(change.action is CopyAction.DELETE for change in seen.changes[1:])
        return replace(seen, files_deleted=deleted)


class NamesAll(MemoryCopyDriver):
    async def preview(self, run: CopyRun, *, most: int) -> CopyPreview:
        return await super().preview(run, most=10**6)


class LooksAheadWithoutRules(MemoryCopyDriver):
    async def preview(self, run: CopyRun, *, most: int) -> CopyPreview:
        return await super().preview(replace(run, options=CopyOptions()), most=most)


class LooksAheadForAnybody(MemoryCopyDriver):
    async def preview(self, run: CopyRun, *, most: int) -> CopyPreview:
        share = self.replicas_of(run.agent)[run.replica]
        return await super().preview(replace(run, password=share.password), most=most)


FAULTS: dict[type[MemoryCopyDriver], str] = {
    KnowsNoTls: "test_an_encrypted_copy_is_equal",
    AnswersInClear: "test_an_encrypted_agent_answers_nobody_in_clear",
    GoesOnInClear: "test_an_agent_in_clear_is_not_taken_for_an_encrypted_one",
    TrustsEverySource: "test_a_source_whose_certificate_is_not_trusted_is_denied",
    TrustsEveryAgent: "test_an_agent_whose_certificate_is_not_trusted_is_denied",
    LooksAtNoDate: "test_an_expired_certificate_is_denied_though_it_is_trusted",
    TrustsForGood: "test_who_is_trusted_changes_at_once",
    StaysEncrypted: "test_an_agent_changes_between_encrypted_and_clear",
    ForgetsTheFormerPassword: "test_the_former_password_is_taken_too_until_it_is_gone",
    CopiesTheExcluded: "test_what_is_excluded_is_not_copied",
    DeletesTheExcluded: "test_what_is_excluded_is_left_alone_in_the_replica",
    DeletesUnasked: "test_without_deleting_the_surplus_stays_and_is_no_difference",
    RefusesEveryEmptySource: "test_without_deleting_an_empty_source_is_copied",
    KnowsNoLimit: "test_a_limited_copy_takes_its_time",
    PassesOverTheReplicasLimit: "test_a_copy_keeps_to_the_limit_of_its_replica",
    CompressesNothing: "test_a_compressed_copy_is_equal_and_less_crosses",
    StartsOver: "test_a_copy_cut_in_a_large_file_goes_on_from_there",
    LooksAheadByCopying: "test_a_preview_tells_what_a_copy_would_do_and_does_nothing",
    CountsWhatItNames: "test_a_preview_names_as_many_as_are_wanted_and_counts_all",
    NamesAll: "test_a_preview_names_as_many_as_are_wanted_and_counts_all",
    LooksAheadWithoutRules: "test_a_preview_keeps_to_the_rules",
    LooksAheadForAnybody: "test_a_preview_is_stopped_by_what_stops_a_copy",
    ForgetsTheOwner: "test_a_first_copy_is_equal_in_every_attribute",
    ForgetsTheMode: "test_a_first_copy_is_equal_in_every_attribute",
    ForgetsExtendedAttributes: "test_a_first_copy_is_equal_in_every_attribute",
    ForgetsAcls: "test_a_first_copy_is_equal_in_every_attribute",
    ForgetsAttributesOfItsOwnPrefix: "test_a_first_copy_is_equal_in_every_attribute",
    RoundsTimesToSeconds: "test_a_first_copy_is_equal_in_every_attribute",
    BreaksHardLinks: "test_a_first_copy_is_equal_in_every_attribute",
    FillsHoles: "test_a_first_copy_is_equal_in_every_attribute",
    FollowsLinks: "test_a_first_copy_is_equal_in_every_attribute",
    LeavesOutDevices: "test_a_first_copy_is_equal_in_every_attribute",
    ComparesWholeSeconds: "test_a_change_within_the_same_second_at_the_same_size_is_copied",
    DeletesNothing: "test_a_copy_deletes_exactly_what_left_the_source",
    DeletesBeforeItLooks: "test_a_missing_source_fails_and_deletes_nothing",
    EmptiesTheReplica: "test_an_empty_source_empties_no_replica",
    DeletesLast: "test_what_is_gone_makes_room_for_what_is_new",
    SendsAllAgain: "test_a_copy_of_what_is_equal_sends_nothing",
    SendsWholeFiles: "test_a_second_copy_moves_only_the_change",
    LeavesOtherKindsInPlace: "test_a_copy_replaces_whatever_was_in_the_replica",
    LooksAtContentOnly: "test_changed_attributes_alone_are_copied",
    LeavesWhatIsHalfWritten: "test_a_full_destination_has_no_space_and_nothing_half_written",
    TellsNoProgress: "test_the_progress_grows_and_reaches_all_that_was_sent",
    GivesUpAfterACancellation: "test_a_cancelled_copy_can_be_made_again",
    AdmitsEverybody: "test_a_wrong_password_is_denied",
    ForgetsTheUser: "test_a_wrong_user_is_denied",
    TakesAnyPasswordOfTheAgent: "test_the_password_of_another_replica_is_denied",
    ForgetsTheAllowedSources: "test_a_source_that_is_not_allowed_is_denied",
    LetsInWhereNobodyIsAllowed: "test_a_source_that_is_not_allowed_is_denied",
    ShowsThePassword: "test_a_wrong_password_is_denied",
    DeniesTheUnknown: "test_an_unknown_replica_is_not_found",
    MakesTheMissingReplica: "test_a_missing_replica_directory_fails",
    LeavesErrorsUntranslated: "test_an_unreachable_agent_is_unavailable",
    VerifiesNothing: "test_each_difference_in_metadata_is_told_by_its_path",
    FindsFault: "test_a_copy_verifies_as_equal",
    IgnoresTheSample: "test_changed_content_with_the_old_time_is_told_if_it_is_sampled",
    LooksAtTheSampleOnly: "test_each_difference_in_metadata_is_told_by_its_path",
    RepairsInsteadOfVerifying: "test_a_verification_changes_nothing",
    ForgetsNotes: "test_the_newest_note_lies_with_its_replica",
    KeepsTheFirstNote: "test_the_newest_note_lies_with_its_replica",
    LaysNotesIntoTheCopy: "test_the_newest_note_lies_with_its_replica",
    TakesNotesFromEverybody: "test_who_may_not_copy_leaves_no_note",
    LosesNotesWhenItChanges: "test_a_note_stays_while_the_agent_is_changed",
    KeepsNotesOfWhatIsGone: "test_a_note_goes_with_its_replica",
    KeepsNotesWithoutAnAgent: "test_notes_go_with_the_agent",
    AddsReplicas: "test_an_agent_offers_exactly_its_replicas",
    KeepsOldPasswords: "test_a_changed_password_counts_at_once",
    RefusesToStartTwice: "test_starting_the_agent_again_is_success",
    NeedsAReplica: "test_an_agent_without_replicas_runs",
    StaysOnTheOldPort: "test_an_agent_moves_to_another_port",
    CutsCopiesWhenItChanges: "test_changing_the_replicas_cuts_no_copy",
    NeverStops: "test_a_stopped_agent_accepts_nothing",
    ClaimsToRun: "test_a_stopped_agent_accepts_nothing",
    StopsOnlyOnce: "test_a_stopped_agent_accepts_nothing",
    BrowsesNothing: "test_an_agent_offers_exactly_its_replicas",
    **FAULTS_OF_LISTS,
}


async def judge(driver: MemoryCopyDriver, sentence: str, directory: Path) -> None:
    async with open_bench(driver, directory) as bench:
        await getattr(CopyContract(), sentence)(bench)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_the_kit_rejects_a_driver_that(fault: type[MemoryCopyDriver], tmp_path: Path) -> None:
    driver = fault()
    with pytest.raises((AssertionError, pytest.fail.Exception, HoldfastError)):
        await judge(driver, FAULTS[fault], tmp_path)


@pytest.mark.parametrize("sentence", sorted(set(FAULTS.values())))
async def test_the_same_sentence_holds_for_the_driver_without_a_fault(sentence: str, tmp_path: Path) -> None:
    await judge(MemoryCopyDriver(), sentence, tmp_path)


def test_every_sentence_of_the_kit_rejects_some_fault() -> None:
    assert {name for name in dir(CopyContract) if name.startswith("test_")} == set(FAULTS.values())


TreeChange = Callable[[Path], None]
CHANGES: dict[str, TreeChange] = {
    "a mode": lambda root: (root / "docs/letter").chmod(0o640),
    "an owner": lambda root: os.chown(root / "docs/letter", 9, -1),
    "a group": lambda root: os.chown(root / "docs/letter", -1, 9),
    "an owner of a link": lambda root: os.chown(root / "link out", 9, -1, follow_symlinks=False),
    "a nanosecond": lambda root: _add_ns(root / "docs/letter", 1),
    "a nanosecond of a directory": lambda root: _add_ns(root / "deep", 1),
    "a nanosecond of the root": lambda root: _add_ns(root, 1),
    "content of the same size and time": lambda root: _flip(root / "docs/big"),
    "a link's target": lambda root: _relink(root / "link out", "elsewhere"),
    "a device number": lambda root: _renumber(root / "null"),
    "a hole": lambda root: _fill(root / "sparse"),
    "an attribute": lambda root: os.setxattr(root / "docs/letter", "user.colour", b"red"),
    "an attribute more": lambda root: os.setxattr(root / "docs/letter", "user.more", b""),
    "an ACL": lambda root: os.setxattr(root / "docs/big", "system.posix_acl_access", acl(12345, 5)),
    "a default ACL": lambda root: os.removexattr(root / "docs", "system.posix_acl_default"),
    "a hard link": lambda root: _separate(root / "same letter"),
    "a name": lambda root: _rename(root / "docs/empty", "other"),
    "a name less": lambda root: (root / "pipe").unlink(),
    "a kind": lambda root: _refit(root / "pipe"),
}


def _add_ns(path: Path, delta_ns: int) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + delta_ns))


def _flip(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as stream:
        stream.write(b"\xff")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _rename(path: Path, name: str) -> None:
    path.rename(path.with_name(name))


def _relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _renumber(path: Path) -> None:
    mode = path.lstat().st_mode
    path.unlink()
    os.mknod(path, mode, os.makedev(1, 5))


def _fill(path: Path) -> None:
    status = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _separate(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def _refit(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"")


@pytest.mark.parametrize("what", CHANGES)
def test_the_reader_of_trees_sees_a_change_of(what: str, tmp_path: Path) -> None:
    make_tree(tmp_path)
    before = read_tree(tmp_path)
    CHANGES[what](tmp_path)
    assert differences(before, read_tree(tmp_path)) != ()


def test_the_reader_of_trees_finds_a_tree_equal_to_itself(tmp_path: Path) -> None:
    make_tree(tmp_path)
    assert differences(read_tree(tmp_path), read_tree(tmp_path)) == ()


def test_a_made_tree_has_one_of_everything(tmp_path: Path) -> None:
    make_tree(tmp_path)
    tree = read_tree(tmp_path).values()
    assert {entry.kind for entry in tree} == set("-dlpcb")
    assert any(entry.has_holes for entry in tree)
    assert any(entry.other_names for entry in tree)
    names = {name for entry in tree for name, _ in entry.attributes}
    assert {"user", "trusted", "security", "system"} == {name.partition(".")[0] for name in names}
