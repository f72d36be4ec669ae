"""Changes of directories, as the kernel tells them."""

from __future__ import annotations

from pathlib import Path

from holdfast.system.kernelfs import KernelFs
from holdfast.system.watching import Change, How


def test_what_a_process_changes_is_told_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "file").write_text("1")
    watch = KernelFs(tmp_path).watch()
    watch.cover(["/a", "/b", "/c", "/absent"])
    assert watch.is_whole
    assert watch.changes() == frozenset()
    (tmp_path / "a" / "file").read_text()
    assert watch.changes() == frozenset()
    (tmp_path / "a" / "file").write_text("2")
    (tmp_path / "b" / "link").symlink_to("nowhere")
    assert watch.changes() == frozenset({Change("/a/file", How.WRITTEN), Change("/b/link", How.MADE)})
    assert watch.changes() == frozenset()
    (tmp_path / "b" / "link").unlink()
    (tmp_path / "c" / "made").mkdir()
    assert watch.changes() == frozenset({Change("/b/link", How.REMOVED), Change("/c/made", How.MADE)})


def test_a_directory_made_anew_is_watched_once_it_is_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    watch = KernelFs(tmp_path).watch()
    watch.cover(["/a"])
    (tmp_path / "a").rmdir()
    (tmp_path / "a").mkdir()
    assert watch.changes() == frozenset({Change("/a", How.REMOVED)})
    (tmp_path / "a" / "b").mkdir()
    assert watch.changes() == frozenset()
    watch.cover(["/a"])
    (tmp_path / "a" / "c").mkdir()
    assert watch.changes() == frozenset({Change("/a/c", How.MADE)})


def test_a_directory_made_anew_is_watched_though_nobody_asked_meanwhile_what_was_changed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    watch = KernelFs(tmp_path).watch()
    watch.cover(["/a"])
    (tmp_path / "a").rmdir()
    (tmp_path / "a").mkdir()
    watch.cover(["/a"])
    (tmp_path / "a" / "b").mkdir()
    assert watch.changes() == frozenset({Change("/a", How.REMOVED), Change("/a/b", How.MADE)})


def test_more_than_the_kernel_keeps_is_no_answer(tmp_path: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    (tmp_path / "a").mkdir()
    watch = KernelFs(tmp_path).watch()
    watch.cover(["/a"])
    place = tmp_path / "a" / "x"
    for _ in range(most // 2 + 1):
        place.mkdir()
        place.rmdir()
    assert watch.changes() is None
    assert watch.changes() == frozenset()
