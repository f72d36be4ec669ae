"""The contract of a copy driver that takes a list of changes (`Can.COPY_CHANGES`): part of `CopyContract`."""

# The names of the tests are the sentences of the contract.
# ruff: noqa: D102

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from holdfast.errors import DeniedError, VerificationError
from holdfast.hooks.base import Can
from holdfast.hooks.copying import CopyChanges, CopyOptions, FilterRule
from holdfast.testing.trees import HOSTILE_NAMES, make_tree, read_tree
from holdfast.values import Secret

if TYPE_CHECKING:
    from holdfast.hooks.replication import CopyRun
    from holdfast.testing.copy import Bench


def by_changes(bench: Bench, *names: str | bytes, gone: tuple[str | bytes, ...] = ()) -> CopyRun:
    """The bench's run, with these names as its list of changes."""
    if Can.COPY_CHANGES not in bench.driver.can:
        pytest.skip("the driver takes no list of changes")
    paths = []
    for what, listed in (("names", names), ("gone", gone)):
        # A directory before what is in it: `a`, `a/x`, `a-b`.
        encoded = sorted((os.fsencode(name) for name in listed), key=lambda name: name.replace(b"/", b"\0"))
        paths.append(bench.directory / what)
        paths[-1].write_bytes(b"".join(b"./" + name + b"\0" for name in encoded))
    return replace(bench.run, changes=CopyChanges(*map(str, paths)))


async def copied(bench: Bench) -> None:
    """A tree in the source, and all of it in the replica."""
    make_tree(bench.source)
    for number in range(3):
        (bench.source / "many" / str(number)).mkdir(parents=True)
        (bench.source / "many" / str(number) / "file").write_text(str(number))
    await bench.start()
    await bench.copy()
    assert bench.differences() == ()


class CopyChangesContract:
    """What every copy driver that takes a list of changes does with it."""

    async def test_what_is_named_becomes_equal_and_is_counted(self, bench: Bench) -> None:
        await copied(bench)
        (bench.source / "docs/big").write_bytes(b"changed")
        (bench.source / "docs/new").write_bytes(b"new")
        (bench.source / "fresh/deep").mkdir(parents=True)
        (bench.source / "fresh/deep/file").write_bytes(b"x")
        (bench.source / "sparse").chmod(0o600)
        os.setxattr(bench.source / "docs/empty", "user.colour", b"red")
        names = ("docs", "docs/big", "docs/empty", "docs/new", "fresh", "fresh/deep", "fresh/deep/file", "sparse")
        run = by_changes(bench, *names)
        result = await bench.copy(run)
        assert bench.differences() == ()
        assert (result.files_sent, result.files_deleted) == (3, 0)
        assert result.files_considered == len(names) + 1
        assert await bench.driver.verify(run, sample=("docs/big", "many/0/file")) == ()

    async def test_what_is_gone_goes_with_all_below_it_and_nothing_else_does(self, bench: Bench) -> None:
        await copied(bench)
        (bench.source / "docs/empty").unlink()
        shutil.rmtree(bench.source / "many/1")
        (bench.replica / "many/surplus").write_bytes(b"not named")
        os.utime(bench.replica / "many", ns=(1, 1))
        result = await bench.copy(by_changes(bench, "docs", "many", gone=("docs/empty", "many/1")))
        assert result.files_deleted == 3
        assert result.files_considered == 3
        assert (bench.replica / "many/surplus").exists()
        (bench.replica / "many/surplus").unlink()
        await bench.copy(by_changes(bench, "many"))
        assert bench.differences() == ()

    async def test_what_is_of_another_kind_now_takes_the_place(self, bench: Bench) -> None:
        await copied(bench)
        shutil.rmtree(bench.source / "many/0")
        (bench.source / "many/0").write_bytes(b"a file now")
        shutil.rmtree(bench.source / "many/1")
        (bench.source / "many/1").symlink_to("2")
        (bench.source / "many/2/file").unlink()
        (bench.source / "many/2/file").mkdir()
        (bench.source / "many/2/file/below").write_bytes(b"x")
        names = ("many", "many/0", "many/1", "many/2", "many/2/file", "many/2/file/below")
        await bench.copy(by_changes(bench, *names))
        assert bench.differences() == ()

    async def test_any_name_is_copied_and_removed(self, bench: Bench) -> None:
        await copied(bench)
        names = HOSTILE_NAMES
        for name in names:
            path = bench.source / os.fsdecode(name)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        await bench.copy(by_changes(bench, gone=names))
        assert bench.differences() == ()
        for name in names:
            (bench.source / os.fsdecode(name)).write_bytes(name)
        result = await bench.copy(by_changes(bench, *names))
        assert bench.differences() == ()
        assert (result.files_sent, result.files_considered) == (len(names), len(names) + 1)

    async def test_hard_links_are_made_and_taken_apart(self, bench: Bench) -> None:
        await copied(bench)
        os.link(bench.source / "many/0/file", bench.source / "many/1/other name")
        changed = ("many/0/file", "many/1", "many/1/other name")
        await bench.copy(by_changes(bench, *changed))
        assert bench.differences() == ()
        (bench.source / "many/1/other name").unlink()
        (bench.source / "many/1/other name").write_bytes(b"of its own")
        await bench.copy(by_changes(bench, *changed))
        assert bench.differences() == ()

    async def test_the_top_is_always_looked_at(self, bench: Bench) -> None:
        await copied(bench)
        bench.source.chmod(0o710)
        os.setxattr(bench.source, "user.colour", b"red")
        os.utime(bench.source, ns=(5, 5))
        run = by_changes(bench)
        assert [text.partition(" ")[0] for text in await bench.driver.verify(run, sample=())] == ["."]
        result = await bench.copy(run)
        assert bench.differences() == ()
        assert result.files_considered == 1

    async def test_what_is_not_named_is_not_looked_at(self, bench: Bench) -> None:
        await copied(bench)
        (bench.replica / "sparse").write_bytes(b"other")
        (bench.replica / "docs/surplus").write_bytes(b"x")
        (bench.source / "fresh").write_bytes(b"x")
        run = by_changes(bench, "fresh")
        assert (await bench.copy(run)).files_sent == 1
        assert (bench.replica / "sparse").read_bytes() == b"other"
        assert (bench.replica / "docs/surplus").exists()
        assert await bench.driver.verify(run, sample=()) == ()
        assert await bench.driver.verify(run, sample=("sparse",)) != ()
        # A copy without a list finds all of it.
        await bench.copy()
        assert bench.differences() == ()

    async def test_what_is_named_and_differs_is_told_and_nothing_is_changed(self, bench: Bench) -> None:
        await copied(bench)
        (bench.source / "many/1/file").unlink()
        (bench.replica / "many/2/file").chmod(0o600)
        (bench.replica / "many/0/file").unlink()
        run = by_changes(bench, "many/0/file", "many/2/file", "docs/big", gone=("many/1/file",))
        before = read_tree(bench.replica)
        told = {text.partition(" ")[0] for text in await bench.driver.verify(run, sample=())}
        assert {"many/0/file", "many/1/file", "many/2/file"} <= told
        assert not any(name.startswith("docs") for name in told)
        assert read_tree(bench.replica) == before

    async def test_the_rules_hold_for_a_list_too(self, bench: Bench) -> None:
        await copied(bench)
        (bench.replica / "many/1/theirs.tmp").write_bytes(b"theirs")
        shutil.rmtree(bench.source / "many/2")
        (bench.source / "many/0/file").write_bytes(b"changed")
        run = by_changes(bench, "many", "many/0/file", gone=("many/2",))
        options = CopyOptions((FilterRule("*.tmp", is_included=False),), is_deleting=False)
        await bench.copy(replace(run, options=options))
        assert (bench.replica / "many/2/file").exists()
        assert (bench.replica / "many/0/file").read_bytes() == b"changed"
        await bench.copy(replace(run, options=replace(options, is_deleting=True)))
        assert not (bench.replica / "many/2").exists()
        assert (bench.replica / "many/1/theirs.tmp").exists()

    async def test_what_changed_and_is_not_there_any_more_fails_the_copy_and_is_not_deleted(self, bench: Bench) -> None:
        await copied(bench)
        shutil.rmtree(bench.source / "many/1")
        run = by_changes(bench, "many/1", "many/1/file")
        with pytest.raises(VerificationError):
            await bench.copy(run)
        assert (bench.replica / "many/1/file").read_text() == "1"

    async def test_a_list_is_stopped_by_what_stops_a_copy(self, bench: Bench) -> None:
        await copied(bench)
        (bench.source / "fresh").write_bytes(b"x")
        wrong = replace(by_changes(bench, "fresh"), password=Secret("wrong"))
        await bench.assert_refused(DeniedError, lambda: bench.copy(wrong))

    async def test_whether_anybody_wrote_since_the_note_is_told_to_who_may_copy(self, bench: Bench) -> None:
        from holdfast.testing.copy import LATER, NOTE

        await copied(bench)
        assert (await bench.driver.replica_facts(bench.run)).note is None
        await bench.driver.leave_note(bench.run, NOTE)
        for _ in range(2):
            assert (await bench.driver.replica_facts(bench.run)).note == NOTE
        # To look is not to write.
        await bench.driver.preview(bench.run, most=3)
        assert await bench.verify("docs/big") == ()
        assert (await bench.driver.replica_facts(bench.run)).note == NOTE
        await bench.copy()
        assert (await bench.driver.replica_facts(bench.run)).note is None
        await bench.driver.leave_note(bench.run, LATER)
        assert (await bench.driver.replica_facts(bench.run)).note == LATER
        await bench.copy(by_changes(bench, "docs/big"))
        assert (await bench.driver.replica_facts(bench.run)).note is None

    async def test_who_is_told_of_other_writers_knows_no_note_until_the_next(self, bench: Bench) -> None:
        from holdfast.testing.copy import LATER, NOTE

        await bench.driver.distrust_replicas()
        await copied(bench)
        await bench.driver.leave_note(bench.run, NOTE)
        await bench.driver.distrust_replicas()
        assert (await bench.driver.replica_facts(bench.run)).note is None
        async with bench.driver.hold("docs") as note:
            assert note is None
        await bench.driver.leave_note(bench.run, LATER)
        assert (await bench.driver.replica_facts(bench.run)).note == LATER

    async def test_who_writes_through_another_share_of_the_same_directory_is_noticed(self, bench: Bench) -> None:
        from holdfast.testing.copy import NOTE

        await copied(bench)
        other = replace(bench.share, name="other", path=str(bench.replica / "docs"))
        apart = bench.directory / "apart"
        apart.mkdir()
        await bench.start(bench.share, other, replace(bench.share, name="apart", path=str(apart)))
        await bench.driver.leave_note(bench.run, NOTE)
        await bench.copy(replace(bench.run, replica="apart"))
        assert (await bench.driver.replica_facts(bench.run)).note == NOTE
        await bench.copy(replace(bench.run, replica="other", source=str(bench.source / "docs")))
        assert (await bench.driver.replica_facts(bench.run)).note is None
