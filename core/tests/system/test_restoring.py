"""Files brought back: whole, as they were, and never outside of the tree."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.errors import InvalidError, NotFoundError, RefusedError, UnavailableError
from holdfast.system.restoring import MOST_SHOWN, Action, Report, Restoring, opened, parts_of


class Trees:
    """A tree as it was and as it is, and a place beside them that nobody may touch."""

    def __init__(self, directory: Path) -> None:
        self.past, self.present, self.outside = (directory / name for name in ("past", "present", "outside"))
        for each in (self.past, self.present, self.outside):
            each.mkdir()
        (self.outside / "secret").write_text("secret")

    def restore(self, path: str = "", to: str | None = None, *, is_preview: bool = False) -> Report:
        work = Restoring(is_preview=is_preview, mark="test")
        roots = [os.open(each, os.O_RDONLY | os.O_DIRECTORY) for each in (self.past, self.present)]
        try:
            source = parts_of(path)
            return work.restore(roots[0], source, roots[1], source if to is None else parts_of(to))
        finally:
            for root in roots:
                os.close(root)


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


def told(report: Report) -> dict[str, str]:
    return {entry.path: entry.action.value for entry in report.entries}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_a_preview_tells_is_what_is_done(trees: Trees) -> None:
    for name in ("gone", "changed", "same", "deep/er/gone"):
        write(trees.past / name, name)
    (trees.past / "link").symlink_to("gone")
    write(trees.present / "changed", "otherwise")
    write(trees.present / "mine", "mine")
    os.link(trees.past / "same", trees.present / "same")
    preview = trees.restore(is_preview=True)
    assert told(preview) == {
        "changed": "replace",
        "deep": "create",
        "deep/er": "create",
        "deep/er/gone": "create",
        "gone": "create",
        "link": "create",
    }
    assert preview.counts[Action.SAME] == 1
    assert sorted(path.name for path in trees.present.iterdir()) == ["changed", "mine", "same"]
    done = trees.restore()
    assert (done.counts, done.copied_bytes) == (preview.counts, preview.copied_bytes)
    assert (trees.present / "changed").read_text() == "changed"
    assert (trees.present / "deep/er/gone").read_text() == "deep/er/gone"
    assert (trees.present / "link").readlink() == Path("gone")
    assert (trees.present / "mine").read_text() == "mine"
    # Done again it finds nothing to do.
    again = trees.restore()
    assert set(told(again)) == set()


def test_a_file_is_as_it_was(trees: Trees) -> None:
    path = trees.past / "file"
    with path.open("wb") as stream:
        stream.write(b"begin")
        stream.truncate(1 << 24)
        stream.seek(1 << 23)
        stream.write(b"middle")
    path.chmod(0o640)
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    with contextlib.suppress(OSError):  # a file system without them
        os.setxattr(path, "user.note", b"kept")
    trees.restore("file")
    copy = trees.present / "file"
    assert copy.read_bytes() == path.read_bytes()
    was, now = path.stat(), copy.stat()
    assert (now.st_mode, now.st_mtime_ns, now.st_uid, now.st_gid) == (
        was.st_mode,
        was.st_mtime_ns,
        was.st_uid,
        was.st_gid,
    )
    assert now.st_blocks <= was.st_blocks + 64
    assert [os.getxattr(copy, name) for name in os.listxattr(copy)] == [
        os.getxattr(path, n) for n in os.listxattr(path)
    ]


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a/..", "a\0b", "/".join("d" * 201)])
def test_a_path_out_of_the_tree_is_refused(path: str) -> None:
    with pytest.raises(InvalidError):
        parts_of(path)


def test_a_link_on_the_way_is_never_followed(trees: Trees) -> None:
    write(trees.past / "folder/secret", "then")
    (trees.present / "folder").symlink_to(trees.outside)
    # Asked for by name: refused. Met on the way: left alone, and told.
    with pytest.raises(RefusedError):
        trees.restore("folder/secret")
    assert told(trees.restore())["folder"] == "conflict"
    assert (trees.outside / "secret").read_text() == "secret"
    (trees.past / "way").symlink_to(trees.outside)
    with pytest.raises(RefusedError):
        trees.restore("way/secret")
    assert not (trees.present / "way").exists()


def test_a_link_that_is_there_is_replaced_and_not_written_through(trees: Trees) -> None:
    write(trees.past / "file", "then")
    (trees.present / "file").symlink_to(trees.outside / "secret")
    trees.restore("file")
    assert not (trees.present / "file").is_symlink()
    assert (trees.outside / "secret").read_text() == "secret"
    # And a link is brought back as one, wherever it leads.
    (trees.past / "out").symlink_to("../outside/secret")
    trees.restore("out")
    assert os.readlink(trees.present / "out") == "../outside/secret"
    assert (trees.outside / "secret").read_text() == "secret"


def test_a_folder_is_no_file_and_a_file_no_folder(trees: Trees) -> None:
    write(trees.past / "one", "file")
    write(trees.present / "one/inner", "kept")
    write(trees.past / "two/inner", "then")
    write(trees.present / "two", "kept")
    assert told(trees.restore()) == {"one": "conflict", "two": "conflict"}
    assert (trees.present / "one/inner").read_text() == "kept"
    assert (trees.present / "two").read_text() == "kept"


def test_what_is_neither_file_nor_folder_is_left_out(trees: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(trees.past / "pipe")
    monkeypatch.chdir(trees.past)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    assert told(trees.restore()) == {"pipe": "skip", "socket": "skip"}
    assert list(trees.present.iterdir()) == []


NAMES = [b"new\nline", b"-rf", b"quo'te\"", b"\xff\xfe", b"x" * 255, "ü".encode()]


def test_any_name_is_brought_back(trees: Trees) -> None:
    for name in NAMES:
        (trees.past / os.fsdecode(name)).write_text("then")
    report = trees.restore()
    assert sorted(os.listdir(os.fsencode(trees.present))) == sorted(NAMES)
    for entry in report.entries:
        entry.path.encode()


def test_another_place_is_made(trees: Trees) -> None:
    write(trees.past / "a/file", "then")
    assert told(trees.restore("a", "found/here", is_preview=True)) == {
        "found/here": "create",
        "found/here/file": "create",
    }
    assert list(trees.present.iterdir()) == []
    trees.restore("a", "found/here")
    assert (trees.present / "found/here/file").read_text() == "then"


def test_what_was_not_there_is_not_found(trees: Trees) -> None:
    for path in ("absent", "absent/er"):
        with pytest.raises(NotFoundError):
            trees.restore(path)
    write(trees.past / "file", "then")
    with pytest.raises(RefusedError):
        trees.restore("file/inner")


def test_what_an_interrupted_one_left_is_cleared_away(trees: Trees) -> None:
    write(trees.past / "folder/file", "then")
    write(trees.present / "folder/.holdfast-restore-test", "half")
    trees.restore()
    assert sorted(path.name for path in (trees.present / "folder").iterdir()) == ["file"]


def test_a_copy_that_fails_leaves_what_was_there(trees: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    write(trees.past / "file", "then")
    write(trees.present / "file", "before")

    def fails(*_: object) -> int:
        raise OSError(5, "Input/output error", "file")

    monkeypatch.setattr(os, "sendfile", fails)
    with pytest.raises(UnavailableError, match="Input/output"):
        trees.restore("file")
    assert sorted(path.name for path in trees.present.iterdir()) == ["file"]
    assert (trees.present / "file").read_text() == "before"


def test_it_stops_when_it_is_told_to(trees: Trees) -> None:
    for number in range(20):
        write(trees.past / f"file-{number:02}", "then")
    work: Restoring

    def stop(report: Report) -> None:
        if sum(report.counts.values()) == 5:
            work.stopping.set()

    work = Restoring(is_preview=False, mark="test", progress=stop)
    assert isinstance(work.stopping, threading.Event)
    roots = [os.open(each, os.O_RDONLY | os.O_DIRECTORY) for each in (trees.past, trees.present)]
    work.restore(roots[0], (), roots[1], ())
    for root in roots:
        os.close(root)
    assert len(list(trees.present.iterdir())) == 5


def test_many_are_counted_and_the_first_are_named(trees: Trees) -> None:
    for number in range(MOST_SHOWN + 10):
        (trees.past / f"{number:05}").touch()
    report = trees.restore(is_preview=True)
    assert (report.counts[Action.CREATE], len(report.entries)) == (MOST_SHOWN + 10, MOST_SHOWN)


def test_a_tree_that_is_too_deep_is_refused_and_not_a_crash(trees: Trees) -> None:
    make: Callable[[str, int], None] = lambda name, folder: os.mkdir(name, dir_fd=folder)  # noqa: E731
    folder = os.open(trees.past, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(300):
        make("d", folder)
        inner = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    with pytest.raises(RefusedError, match="deep"):
        trees.restore(is_preview=True)
    with opened(os.open(trees.past, os.O_RDONLY), ("d",)) as found:
        assert stat.S_ISDIR(os.fstat(found).st_mode)
