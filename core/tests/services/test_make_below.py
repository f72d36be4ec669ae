from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.errors import ConflictError
from holdfast.services.shares.shares import make_below


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "volume").mkdir()
    (tmp_path / "outside").mkdir()
    return tmp_path / "volume"


def test_directories_are_made_and_made_again_with_what_is_in_them(root: Path) -> None:
    make_below(root, "a/b/c")
    (root / "a/b/file").write_text("kept")
    make_below(root, "a/b/c")
    make_below(root, "")
    assert (root / "a/b/c").is_dir()
    assert (root / "a/b/file").read_text() == "kept"
    assert (root / "a").stat().st_mode & 0o777 == 0o755 & ~_umask()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("place", ["link", "a/link"])
@pytest.mark.parametrize("target", ["{outside}", "../outside", "../../outside", "{root}", "."])
def test_no_symbolic_link_is_followed_and_nothing_is_made_behind_it(root: Path, place: str, target: str) -> None:
    (root / "a").mkdir()
    (root / place).symlink_to(target.format(outside=root.parent / "outside", root=root))
    for path in (place, f"{place}/new", f"{place}/new/deeper"):
        with pytest.raises(ConflictError, match="link is not a directory there"):
            make_below(root, path)
    assert list((root.parent / "outside").iterdir()) == []
    assert not (root / "new").exists()


@pytest.mark.parametrize("path", ["file", "file/x", "a/../file"])
def test_a_file_in_the_way_is_a_conflict_and_stays(root: Path, path: str) -> None:
    (root / "file").write_text("kept")
    with pytest.raises(ConflictError):
        make_below(root, path)
    assert (root / "file").read_text() == "kept"


def test_no_descriptor_stays_open(root: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    make_below(root, "a/b")
    (root / "a/link").symlink_to("/")
    with pytest.raises(ConflictError):
        make_below(root, "a/link/x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
