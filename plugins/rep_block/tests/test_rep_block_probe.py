"""The probe names what is missing and changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import UnavailableError
from holdfast.hooks.base import Host
from holdfast.testing.fakes import Answer, ScriptedCommands, make_host
from holdfast_rep_block.probe import probe
from holdfast_rep_block.settings import Settings


class Machine(ScriptedCommands):
    """Has the programs given; `modinfo` answers with a version, or fails without one."""

    def __init__(self, programs: set[str], module: str | None) -> None:
        self.programs = programs
        self.module = module
        super().__init__(self._script)

    def finds(self, program: str) -> bool:
        return program in self.programs

    def _script(self, argv: tuple[str, ...], _input: bytes | None) -> Answer | None:
        if argv[0] not in self.programs:
            raise UnavailableError(f"the program {argv[0]} is not installed")
        if argv[0] == "modinfo":
            return Answer(f"{self.module}\n") if self.module else Answer(stderr="not found", returncode=1)
        return Answer(returncode=1)


def short_host(directory: Path, machine: Machine) -> Host:
    """A host whose paths the kernel takes, wherever tests run: the probe only looks at their lengths."""
    host = make_host(directory, commands=machine)
    return replace(host, state_dir=Path("/var/lib/holdfast/drbd"), run_dir=Path("/run/holdfast/drbd"))


ALL = {Settings.drbdsetup, Settings.drbdmeta, "blkid", "modinfo"}


@pytest.mark.parametrize(
    ("programs", "module", "expected"),
    [
        (ALL, "8.4.11", []),
        (ALL - {Settings.drbdsetup}, "8.4.11", [Settings.drbdsetup]),
        (ALL - {Settings.drbdmeta}, "8.4.11", [Settings.drbdmeta]),
        (ALL - {"blkid"}, "8.4.11", ["blkid"]),
        (ALL, None, ["module drbd"]),
        (ALL - {"modinfo"}, None, ["module drbd"]),
        (ALL, "9.2.4", ["DRBD 8.4 (the kernel has 9.2.4)"]),
    ],
)
async def test_each_missing_thing_is_named_with_a_remedy(
    tmp_path: Path, programs: set[str], module: str | None, expected: list[str]
) -> None:
    missing = await probe(Settings(), short_host(tmp_path, Machine(programs, module)))
    assert len(missing) == len(expected)
    for found, text in zip(missing, expected, strict=True):
        assert text in found.what
        assert found.remedy


async def test_the_loaded_module_counts_more_than_the_file(tmp_path: Path) -> None:
    host = short_host(tmp_path, Machine(ALL, None))
    host.kernel.path("/proc").mkdir()
    host.kernel.path("/proc/drbd").write_text("version: 8.4.11 (api:1/proto:86-101)\nsrcversion: 0\n")
    assert await probe(Settings(), host) == ()
    host.kernel.path("/proc/drbd").write_text("version: 9.2.4 (api:2/proto:86-122)\n")
    assert "9.2.4" in (await probe(Settings(), host))[0].what


async def test_a_path_too_long_for_the_kernel_is_named(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 90)
    missing = await probe(Settings(), make_host(deep, commands=Machine(ALL, "8.4.11")))
    assert any("at most 79 bytes" in found.what for found in missing)


async def test_it_runs_nothing_that_changes_the_machine(tmp_path: Path) -> None:
    machine = Machine(ALL, "8.4.11")
    await probe(Settings(), make_host(tmp_path, commands=machine))
    assert {call[0] for call in machine.calls} == {"modinfo"}
    assert not list((tmp_path / "state").iterdir())
