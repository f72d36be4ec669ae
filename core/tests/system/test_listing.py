"""Listings: what is written is read, and what was done to a tree is found, whatever it was and whatever the names."""

from __future__ import annotations

import io
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.system.listing import ListingError, ListingWriter, Names, compare, read, walk
from holdfast.testing.trees import HOSTILE_NAMES, make_tree, read_tree

LONG_AGO_NS = 1 << 62


def listed(root: Path, path: Path, *, frozen_ns: int = LONG_AGO_NS, most_bytes: int = 1 << 30) -> bool:
    writer = ListingWriter(path, frozen_ns=frozen_ns, most_bytes=most_bytes)
    for entry in walk(root):
        writer.add(entry)
    return writer.finish()


def found(root: Path, path: Path, *, is_deleting: bool = True) -> tuple[set[bytes], set[bytes], Names]:
    changed, gone = io.BytesIO(), io.BytesIO()
    names = Names(changed, gone, is_deleting=is_deleting)
    assert [entry.path for entry in compare(read(path), walk(root), names)] == [entry.path for entry in walk(root)]
    told = [{name.removeprefix(b"./") for name in stream.getvalue().split(b"\0") if name} for stream in (changed, gone)]
    return told[0], told[1], names


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    make_tree(root)
    for name in ("a/x", "a-b", "a.d/y/z", "b/c/d/e", "b/c/f", "b/g"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def test_each_name_is_walked_and_read_once_in_one_order(tree: Path, tmp_path: Path) -> None:
    walked = [entry.path for entry in walk(tree)]
    assert {name or b"." for name in walked} == read_tree(tree).keys()
    assert walked == sorted(walked, key=lambda name: name.replace(b"/", b"\0"))
    assert listed(tree, tmp_path / "listing")
    assert [kept.path for kept in read(tmp_path / "listing")] == walked
    assert (tmp_path / "listing").stat().st_mode & 0o777 == 0o600


def test_what_is_as_it_was_is_not_told(tree: Path, tmp_path: Path) -> None:
    listed(tree, tmp_path / "listing")
    changed, gone, names = found(tree, tmp_path / "listing")
    assert (changed, gone) == (set(), set())
    assert (names.changed, names.created, names.removed, names.looked_at) == (0, 0, 0, 1)


def rewritten_with_the_old_time(tree: Path) -> None:
    path = tree / "b/g"
    status = path.stat()
    path.write_text("B/G")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES: dict[str, tuple[Callable[[Path], object], set[bytes], set[bytes]]] = {
    "content, at the old size and time": (rewritten_with_the_old_time, {b"b/g"}, set()),
    "mode": (lambda tree: (tree / "a/x").chmod(0o600), {b"a/x"}, set()),
    "owner": (lambda tree: os.chown(tree / "a/x", 7, 8), {b"a/x"}, set()),
    "an attribute": (lambda tree: os.setxattr(tree / "b/c", "user.colour", b"red"), {b"b/c"}, set()),
    "a new name": (lambda tree: (tree / "b/c/new").write_text("x"), {b"b/c", b"b/c/new"}, set()),
    "a name less": (lambda tree: (tree / "b/c/f").unlink(), {b"b/c"}, {b"b/c/f"}),
    "a tree less": (lambda tree: shutil.rmtree(tree / "b"), set(), {b"b"}),
    "a tree renamed": (
        lambda tree: (tree / "b/c").rename(tree / "b/h"),
        {b"b", b"b/h", b"b/h/d", b"b/h/d/e", b"b/h/f"},
        {b"b/c"},
    ),
    "a name exchanged": (lambda tree: (tree / "a/x").rename(tree / "b/g"), {b"a", b"b", b"b/g"}, {b"a/x"}),
    "a hard link": (lambda tree: os.link(tree / "a/x", tree / "b/link"), {b"a/x", b"b", b"b/link"}, set()),
    "the top": (lambda tree: tree.chmod(0o711), set(), set()),
}


def file_for_a_tree(tree: Path) -> None:
    shutil.rmtree(tree / "b/c")
    (tree / "b/c").write_text("a file now")


def tree_for_a_file(tree: Path) -> None:
    (tree / "a-b").unlink()
    (tree / "a-b/c").mkdir(parents=True)


CHANGES["a file for a tree"] = (file_for_a_tree, {b"b", b"b/c"}, set())
CHANGES["a tree for a file"] = (tree_for_a_file, {b"a-b", b"a-b/c"}, set())


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_done_is_told_and_nothing_else(what: str, tree: Path, tmp_path: Path) -> None:
    do, wanted, wanted_gone = CHANGES[what]
    listed(tree, tmp_path / "listing")
    time.sleep(0.02)  # beyond the file system's tick
    do(tree)
    changed, gone, names = found(tree, tmp_path / "listing")
    assert (changed, gone) == (wanted, wanted_gone)
    ways = {name[:place] for name in changed for place in range(len(name)) if name[place : place + 1] == b"/"}
    assert names.looked_at == len(changed | ways) + 1
    before, now = len(list(read(tmp_path / "listing"))), len(list(walk(tree)))
    assert before + names.created - names.removed == now


def test_without_deleting_nothing_is_gone(tree: Path, tmp_path: Path) -> None:
    listed(tree, tmp_path / "listing")
    shutil.rmtree(tree / "b")
    _, gone, names = found(tree, tmp_path / "listing", is_deleting=False)
    assert (gone, names.removed) == (set(), 0)


def test_names_of_any_bytes_are_told_as_they_are(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    listed(root, tmp_path / "listing")
    for name in HOSTILE_NAMES:
        (root / os.fsdecode(name)).write_bytes(b"x")
    assert found(root, tmp_path / "listing")[:2] == (set(HOSTILE_NAMES), set())
    listed(root, tmp_path / "listing")
    for name in HOSTILE_NAMES:
        (root / os.fsdecode(name)).unlink()
    assert found(root, tmp_path / "listing")[:2] == (set(), set(HOSTILE_NAMES))


def test_what_changed_in_the_moment_of_freezing_is_told_as_changed(tree: Path, tmp_path: Path) -> None:
    """A name that is written twice within one tick of the clock, with the freezing in between, shows no difference."""
    listed(tree, tmp_path / "listing", frozen_ns=time.time_ns())
    changed, gone, _ = found(tree, tmp_path / "listing")
    assert changed == {entry.path for entry in walk(tree)} - {b""}
    assert gone == set()


def test_a_walk_through_random_trees_agrees_with_sets(tmp_path: Path) -> None:
    chance = random.Random(7)
    parts = ["a", "a-", "a.b", "b", "-"]
    for _ in range(30):
        root = tmp_path / "tree"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for _ in range(12):
            path = root.joinpath(*chance.choices(parts, k=chance.randint(1, 3)))
            if not any(above.is_file() for above in (path, *path.parents)) and not path.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("x")
        listed(root, tmp_path / "listing")
        before = {entry.path for entry in walk(root)}
        for path in sorted(root.rglob("*")):
            if chance.random() < 0.2 and path.exists():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (root / "new").write_text("x")
        after = {entry.path for entry in walk(root)}
        changed, gone, _ = found(root, tmp_path / "listing")
        assert after - before <= changed
        lost = {name for name in before - after if not any(name.startswith(top + b"/") for top in before - after)}
        assert gone == lost


# --- what is no listing ---


def test_a_listing_that_is_not_whole_is_refused(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "listing"
    listed(tree, path)
    data = path.read_bytes()
    for damaged in (
        b"",
        data[:-1],
        data[: len(data) // 2],
        b"\0" * 40,
        data[:-30] + b"\0" * 30,
        data[:60] + b"x" + data[61:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(ListingError):
            list(read(path))
    path.unlink()
    with pytest.raises(ListingError):
        list(read(path))


def test_one_that_was_not_finished_is_none(tree: Path, tmp_path: Path) -> None:
    writer = ListingWriter(tmp_path / "listing", frozen_ns=LONG_AGO_NS, most_bytes=1 << 30)
    for entry in walk(tree):
        writer.add(entry)
    writer._stream.close()  # as if the process ended there
    with pytest.raises(ListingError):
        list(read(tmp_path / "listing"))
    writer.drop()
    assert not (tmp_path / "listing").exists()


def test_one_that_would_take_too_much_room_is_dropped(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(9000):
        (root / f"{number:x}").touch()
    assert not listed(root, tmp_path / "listing", most_bytes=10_000)
    assert not (tmp_path / "listing").exists()
    assert not listed(root, Path("/proc/no-such/listing"))


def test_another_file_system_within_is_refused() -> None:
    with pytest.raises(ListingError, match="another file system"):
        list(walk(Path("/dev")))
