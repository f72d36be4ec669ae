"""What is mounted in a directory, and which directory is another one; directories without links on their way."""

from __future__ import annotations

from pathlib import Path

from holdfast.system.directories import has_below
from holdfast.system.kernelfs import KernelFs
from holdfast.system.mounted import is_bound, mounted_in

MOUNTINFO = """\
22 1 0:20 / / rw - tmpfs tmpfs rw
31 22 0:28 / /run/shown/docs rw - tmpfs tmpfs rw
32 31 253:3 /x /run/shown/docs/monday ro - xfs /dev/dm-3 ro
33 31 253:4 /x /run/shown/docs/with\\040space ro - xfs /dev/dm-4 ro
34 32 253:5 / /run/shown/docs/monday/deeper ro - xfs /dev/dm-5 ro
"""


def test_only_what_is_mounted_right_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(MOUNTINFO)
    kernel = KernelFs(tmp_path)
    assert mounted_in(kernel, Path("/run/shown/docs")) == {"monday", "with space"}
    assert mounted_in(kernel, Path("/run/shown")) == {"docs"}
    assert mounted_in(kernel, Path("/run/show")) == set()


def test_a_directory_is_itself_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert is_bound(tmp_path, str(tmp_path))
    assert not is_bound(tmp_path / "other", str(tmp_path))
    assert not is_bound(tmp_path / "absent", str(tmp_path))


def test_no_link_leads_to_a_directory_below(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    (tmp_path / "file").write_text("")
    found = {path: has_below(tmp_path, path) for path in ("", "a", "a/b", "linked", "linked/b", "file", "absent/b")}
    assert found == {
        "": True,
        "a": True,
        "a/b": True,
        "linked": False,
        "linked/b": False,
        "file": False,
        "absent/b": False,
    }
    assert not has_below(tmp_path / "absent", "")
