"""The one door to kernel trees."""

from __future__ import annotations

from pathlib import Path

from holdfast.system.kernelfs import KernelFs


def test_only_links_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "to-a-directory").symlink_to("directory")
    (tmp_path / "a-dangling-one").symlink_to("nowhere")
    kernel = KernelFs(tmp_path)
    assert kernel.links("/") == ("a-dangling-one", "to-a-directory")
    assert kernel.links("/absent") == ()


def test_a_file_of_procfs_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "long").write_text("x" * 200_000 + "\n")
    assert KernelFs(tmp_path).read("/proc/long") == "x" * 200_000
    assert KernelFs().read("/proc/self/maps").count("\n") > 10


def test_an_empty_attribute_is_empty(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys" / "alias").write_text("\n")
    (tmp_path / "sys" / "nothing").write_text("")
    assert KernelFs(tmp_path).read("/sys/alias") == ""
    assert KernelFs(tmp_path).read("/sys/nothing") == ""
