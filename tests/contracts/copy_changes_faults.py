"""Drivers with one fault each in what they do with a list of changes, and the sentence of the kit that rejects each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from holdfast.hooks.copy_restore import ReplicaFacts
from holdfast.hooks.copying import CopyOptions
from holdfast.hooks.replication import CopyNote, CopyProgress, CopyResult, CopyRun
from holdfast.testing.memory_copy import Count, MemoryCopyDriver, names_in
from holdfast.testing.trees import Entry

Progress = Callable[[CopyProgress], None]


class CountsEverything(MemoryCopyDriver):
    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        result = await super().copy(run, progress)
        return replace(result, files_considered=result.files_considered + 1) if run.changes else result


class LeavesWhatIsGone(MemoryCopyDriver):
    def passed_over(self, run: CopyRun, there: dict[bytes, Entry], wanted: dict[bytes, Entry]) -> dict[bytes, Entry]:
        found = super().passed_over(run, there, wanted)
        return {
            **found,
            **({name: there[name] for name in names_in(run.changes.gone) & there.keys()} if run.changes else {}),
        }


class EmptiesNamedFolders(MemoryCopyDriver):
    def passed_over(self, run: CopyRun, there: dict[bytes, Entry], wanted: dict[bytes, Entry]) -> dict[bytes, Entry]:
        found = super().passed_over(run, there, wanted)
        named = names_in(run.changes.names) if run.changes else set()
        return {name: entry for name, entry in found.items() if name.rpartition(b"/")[0] not in named}


class KeepsTheOldKind(MemoryCopyDriver):
    is_by_list = False

    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        self.is_by_list = run.changes is not None
        return await super().copy(run, progress)

    def delete_extra(self, wanted: dict[bytes, Entry], replica: Path, count: Count) -> None:
        if not self.is_by_list:
            super().delete_extra(wanted, replica, count)


class StopsAtALineBreak(MemoryCopyDriver):
    def looked_at(self, run: CopyRun, tree: dict[bytes, Entry]) -> dict[bytes, Entry]:
        found = super().looked_at(run, tree)
        return {name: entry for name, entry in found.items() if b"\n" not in name} if run.changes else found


class BreaksLinksOfAList(MemoryCopyDriver):
    links = True

    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        self.links = run.changes is None
        return await super().copy(run, progress)

    def link(self, path: Path, first: Path) -> None:
        if self.links:
            return super().link(path, first)
        path.unlink(missing_ok=True)
        path.write_bytes(first.read_bytes())
        return None


class PassesOverTheTop(MemoryCopyDriver):
    def looked_at(self, run: CopyRun, tree: dict[bytes, Entry]) -> dict[bytes, Entry]:
        found = super().looked_at(run, tree)
        return {name: entry for name, entry in found.items() if name != b"."} if run.changes else found


class CopiesEverything(MemoryCopyDriver):
    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        return await super().copy(replace(run, changes=None), progress)


class ComparesNothingOfAList(MemoryCopyDriver):
    async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        return () if run.changes and not sample else await super().verify(run, sample=sample)


class KnowsNoRulesOfAList(MemoryCopyDriver):
    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        run = replace(run, options=CopyOptions()) if run.changes else run
        return await super().copy(run, progress)


class DeletesWhatItDoesNotFind(MemoryCopyDriver):
    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        if run.changes is not None:
            there = [name for name in names_in(run.changes.names) if (Path(run.source) / name.decode()).exists()]
            if len(there) < len(names_in(run.changes.names)):
                run = replace(run, changes=None)
        return await super().copy(run, progress)


class LetsListsInForAnybody(MemoryCopyDriver):
    async def copy(self, run: CopyRun, progress: Progress) -> CopyResult:
        if run.changes is not None:
            share = self.replicas_of(run.agent)[run.replica]
            run = replace(run, password=share.password)
        return await super().copy(run, progress)


class TellsAnyNote(MemoryCopyDriver):
    async def replica_facts(self, run: CopyRun) -> ReplicaFacts:
        facts = await super().replica_facts(run)
        notes: dict[str, CopyNote] = self.network.notes[run.agent.address, run.agent.port]
        return replace(facts, note=notes.get(run.replica))


class LooksByWriting(MemoryCopyDriver):
    async def verify(self, run: CopyRun, *, sample: tuple[str, ...]) -> tuple[str, ...]:
        self.begin_writing(run)
        return await super().verify(run, sample=sample)


class SeesItsOwnDoorOnly(MemoryCopyDriver):
    def begin_writing(self, run: CopyRun) -> None:
        before = set(self.network.untouched)
        super().begin_writing(run)
        self.network.untouched |= {key for key in before if key[1] != run.replica}


class TrustsForEver(MemoryCopyDriver):
    async def distrust_replicas(self) -> None:
        return


_NAMED = "test_what_is_named_becomes_equal_and_is_counted"
_GONE = "test_what_is_gone_goes_with_all_below_it_and_nothing_else_does"
_NOTE = "test_whether_anybody_wrote_since_the_note_is_told_to_who_may_copy"
FAULTS_OF_LISTS: dict[type[MemoryCopyDriver], str] = {
    CountsEverything: _NAMED,
    LeavesWhatIsGone: _GONE,
    EmptiesNamedFolders: _GONE,
    KeepsTheOldKind: "test_what_is_of_another_kind_now_takes_the_place",
    StopsAtALineBreak: "test_any_name_is_copied_and_removed",
    BreaksLinksOfAList: "test_hard_links_are_made_and_taken_apart",
    PassesOverTheTop: "test_the_top_is_always_looked_at",
    CopiesEverything: "test_what_is_not_named_is_not_looked_at",
    ComparesNothingOfAList: "test_what_is_named_and_differs_is_told_and_nothing_is_changed",
    KnowsNoRulesOfAList: "test_the_rules_hold_for_a_list_too",
    DeletesWhatItDoesNotFind: "test_what_changed_and_is_not_there_any_more_fails_the_copy_and_is_not_deleted",
    LetsListsInForAnybody: "test_a_list_is_stopped_by_what_stops_a_copy",
    TellsAnyNote: _NOTE,
    LooksByWriting: _NOTE,
    TrustsForEver: "test_who_is_told_of_other_writers_knows_no_note_until_the_next",
    SeesItsOwnDoorOnly: "test_who_writes_through_another_share_of_the_same_directory_is_noticed",
}
