"""The kit of what a copy driver gives back rejects drivers with one fault each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import BusyError, HoldfastError
from holdfast.hooks.copy_restore import Effect, ReplicaFacts, RestorePreview, RestoreRun
from holdfast.hooks.replication import CopyNote, CopyProgress, CopyResult, CopyRun
from holdfast.system import below
from holdfast.testing.copy import open_bench
from holdfast.testing.copy_restore import RestoreContract
from holdfast.testing.memory_copy import MemoryCopyDriver
from holdfast.testing.memory_restore import Wanted
from holdfast.testing.trees import make_tree

Progress = Callable[[CopyProgress], None]


class RestoresTheWholeFolder(MemoryCopyDriver):
    def wanted_of(self, restore: RestoreRun) -> Wanted:
        parents = tuple(path.rpartition("/")[0] or path for path in restore.paths)
        return super().wanted_of(replace(restore, paths=parents))


class ForgetsAttributes(MemoryCopyDriver):
    async def restore(self, restore: RestoreRun, progress: Progress) -> CopyResult:
        self.set_attributes = lambda entry, path: None  # type: ignore[method-assign]
        return await super().restore(restore, progress)


class ChangesTheFoldersOnTheWay(MemoryCopyDriver):
    async def restore(self, restore: RestoreRun, progress: Progress) -> CopyResult:
        result = await super().restore(restore, progress)
        if restore.paths == ("docs/letter",):
            (self.wanted_of(restore).top / "docs").chmod(0o755)
        return result


class RestoresNothingWithoutNames(MemoryCopyDriver):
    def wanted_of(self, restore: RestoreRun) -> Wanted:
        wanted = super().wanted_of(restore)
        return wanted if restore.paths else replace(wanted, entries={})


class RestoresToTheTop(MemoryCopyDriver):
    def wanted_of(self, restore: RestoreRun) -> Wanted:
        return super().wanted_of(replace(restore, into="" if "monday" in restore.into else restore.into))


class LosesNamesThatAreNoText(MemoryCopyDriver):
    def wanted_of(self, restore: RestoreRun) -> Wanted:
        wanted = super().wanted_of(restore)
        return replace(wanted, entries={k: v for k, v in wanted.entries.items() if k.isascii()})


class RemovesUnasked(MemoryCopyDriver):
    def wanted_of(self, restore: RestoreRun) -> Wanted:
        return super().wanted_of(restore)

    async def restore(self, restore: RestoreRun, progress: Progress) -> CopyResult:
        is_folder = restore.paths == ("docs",) and not restore.into
        return await super().restore(replace(restore, deletes=restore.deletes or is_folder), progress)


class NeverRemoves(MemoryCopyDriver):
    async def restore(self, restore: RestoreRun, progress: Progress) -> CopyResult:
        return await super().restore(replace(restore, deletes=False), progress)


class EmptiesTheReplica(MemoryCopyDriver):
    def refuse_to_empty(self, wanted: object, replica: Path) -> None:
        return


class DoesWhatItPreviews(MemoryCopyDriver):
    async def preview_restore(self, restore: RestoreRun) -> RestorePreview:
        told = await super().preview_restore(restore)
        await self.restore(restore, lambda progress: None)
        return told


class PreviewsNothing(MemoryCopyDriver):
    async def preview_restore(self, restore: RestoreRun) -> RestorePreview:
        self.wanted_of(restore)
        return RestorePreview(0, 0, 0, 0, 0, ())


class PreviewsNoRemovals(MemoryCopyDriver):
    async def preview_restore(self, restore: RestoreRun) -> RestorePreview:
        return await super().preview_restore(replace(restore, deletes=False))


class MakesTheFolderOfAPreview(MemoryCopyDriver):
    async def preview_restore(self, restore: RestoreRun) -> RestorePreview:
        if restore.into:
            self.make_folders(Path(self.admit(restore.run).path), restore.into)
        return await super().preview_restore(restore)


class LooksAtTimesOnly(MemoryCopyDriver):
    async def preview_restore(self, restore: RestoreRun) -> RestorePreview:
        return await super().preview_restore(replace(restore, by_content=False))


class TakesAnyPath(MemoryCopyDriver):
    def check_path(self, source: Path, path: str) -> None:
        with contextlib.suppress(HoldfastError):
            super().check_path(source, path)

    def wanted_of(self, restore: RestoreRun) -> Wanted:
        try:
            return super().wanted_of(restore)
        except (HoldfastError, KeyError):
            return super().wanted_of(replace(restore, paths=()))


class PassesOverWhatIsNotThere(MemoryCopyDriver):
    def wanted_of(self, restore: RestoreRun) -> Wanted:
        source = self.check_source(restore.run)
        kept = tuple(p for p in restore.paths if "none" not in p or os.path.lexists(source / p))
        return super().wanted_of(replace(restore, paths=kept))


class FollowsLinksOutOfTheReplica(MemoryCopyDriver):
    def make_folders(self, root: Path, folder: str) -> None:
        (root / folder).mkdir(parents=True, exist_ok=True)

    def effects(self, wanted: Wanted, restore: RestoreRun) -> Iterator[tuple[bytes, Effect]]:
        for name, effect in super().effects(wanted, restore):
            if wanted.entries.get(name) and wanted.entries[name].kind == "d" and effect is Effect.OVERWRITTEN:
                continue
            yield name, effect


class RestoresForEverybody(MemoryCopyDriver):
    def wanted_of(self, restore: RestoreRun) -> Wanted:
        share = self.replicas_of(restore.run.agent)[restore.run.replica]
        run = replace(restore.run, user=share.user, password=share.password)
        return super().wanted_of(replace(restore, run=run))


class HoldsNothing(MemoryCopyDriver):
    @contextlib.asynccontextmanager
    async def hold(self, replica: str) -> AsyncIterator[CopyNote | None]:
        async with super().hold(replica) as note:
            assert self.spec is not None
            self.network.busy.discard(((self.spec.address, self.spec.port), replica))
            yield note


class HoldsForEver(MemoryCopyDriver):
    @contextlib.asynccontextmanager
    async def hold(self, replica: str) -> AsyncIterator[CopyNote | None]:
        async with super().hold(replica) as note:
            yield note
        assert self.spec is not None
        self.network.busy.add(((self.spec.address, self.spec.port), replica))


class HoldsTwice(MemoryCopyDriver):
    @contextlib.asynccontextmanager
    async def hold(self, replica: str) -> AsyncIterator[CopyNote | None]:
        try:
            async with super().hold(replica) as note:
                yield note
        except BusyError:
            yield None


class TellsAnOldNote(MemoryCopyDriver):
    def begin_writing(self, run: CopyRun) -> None:
        was = ((run.agent.address, run.agent.port), run.replica) in self.network.untouched
        super().begin_writing(run)
        if was:
            self.network.untouched.add(((run.agent.address, run.agent.port), run.replica))


class ForgetsThatNobodyWrote(MemoryCopyDriver):
    @contextlib.asynccontextmanager
    async def hold(self, replica: str) -> AsyncIterator[CopyNote | None]:
        async with super().hold(replica):
            yield None


class VerifiesSome(MemoryCopyDriver):
    async def verify_all(self, run: CopyRun) -> tuple[str, ...]:
        return await self.verify(run, sample=("docs/letter",))


class TellsOfAnotherFileSystem(MemoryCopyDriver):
    async def replica_facts(self, run: CopyRun) -> ReplicaFacts:
        facts = await super().replica_facts(run)
        return replace(facts, capacity_bytes=facts.capacity_bytes + 4096)


class HasAnotherTime(MemoryCopyDriver):
    async def replica_facts(self, run: CopyRun) -> ReplicaFacts:
        facts = await super().replica_facts(run)
        return replace(facts, now=facts.now.replace(year=2001))


_NAMED = "test_what_is_named_is_restored_in_every_attribute_and_nothing_else_is_touched"
_REMOVED = "test_nothing_is_removed_unless_it_is_asked_for"
_TOLD = "test_a_preview_tells_what_would_be_done_and_does_nothing"
_NOTE = "test_who_holds_is_told_the_note_only_while_nobody_wrote_since"
FAULTS: dict[type[MemoryCopyDriver], str] = {
    RestoresTheWholeFolder: _NAMED,
    ForgetsAttributes: _NAMED,
    ChangesTheFoldersOnTheWay: "test_the_folders_on_the_way_stay_as_they_are",
    RestoresNothingWithoutNames: "test_all_is_restored_where_nothing_is_named",
    RestoresToTheTop: "test_it_is_restored_into_a_folder_that_is_made",
    LosesNamesThatAreNoText: "test_any_name_is_restored",
    RemovesUnasked: _REMOVED,
    NeverRemoves: _REMOVED,
    EmptiesTheReplica: "test_an_empty_source_empties_nothing",
    DoesWhatItPreviews: _TOLD,
    PreviewsNothing: _TOLD,
    PreviewsNoRemovals: _TOLD,
    MakesTheFolderOfAPreview: "test_a_preview_into_a_folder_that_is_not_there_makes_none",
    LooksAtTimesOnly: "test_changed_content_with_the_old_time_is_seen_and_mended_by_content",
    TakesAnyPath: "test_a_path_that_leaves_the_source_is_refused",
    PassesOverWhatIsNotThere: "test_a_path_that_is_not_there_is_not_found_and_nothing_is_written",
    FollowsLinksOutOfTheReplica: "test_a_link_in_the_way_leads_nothing_out_of_the_replica",
    RestoresForEverybody: "test_who_may_not_copy_may_not_restore",
    VerifiesSome: "test_a_full_verification_tells_each_difference_and_changes_nothing",
    HoldsNothing: "test_a_held_replica_takes_no_copy",
    HoldsForEver: "test_a_held_replica_is_not_held_twice",
    HoldsTwice: "test_a_held_replica_is_not_held_twice",
    TellsAnOldNote: _NOTE,
    ForgetsThatNobodyWrote: _NOTE,
    TellsOfAnotherFileSystem: "test_the_facts_are_those_of_the_replica",
    HasAnotherTime: "test_the_facts_are_those_of_the_replica",
}


async def run_sentence(driver: MemoryCopyDriver, sentence: str, directory: Path) -> None:
    async with open_bench(driver, directory) as bench:
        make_tree(bench.source)
        (bench.replica / "bystander").write_text("of the day")
        (bench.replica / "docs").mkdir()
        (bench.replica / "docs/draft").write_text("of the day")
        await bench.start()
        await getattr(RestoreContract(), sentence)(bench)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_each_fault_is_caught_by_its_sentence(fault: type[MemoryCopyDriver], tmp_path: Path) -> None:
    caught = None
    try:
        await run_sentence(fault(), FAULTS[fault], tmp_path)
    except (AssertionError, HoldfastError, pytest.fail.Exception, RuntimeError, OSError, KeyError) as reason:
        caught = reason
    assert caught is not None, f"{fault.__name__} passes {FAULTS[fault]}"


@pytest.mark.parametrize("sentence", sorted(set(FAULTS.values())))
async def test_a_driver_without_a_fault_passes(sentence: str, tmp_path: Path) -> None:
    await run_sentence(MemoryCopyDriver(), sentence, tmp_path)


def test_every_sentence_has_a_fault() -> None:
    sentences = {name for name in vars(RestoreContract) if name.startswith("test_")}
    assert sentences == set(FAULTS.values())


async def test_the_kit_sees_a_link_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "way out").symlink_to("..")
    with pytest.raises(HoldfastError, match="leads through"):
        below.need(tmp_path, "way out/etc")
