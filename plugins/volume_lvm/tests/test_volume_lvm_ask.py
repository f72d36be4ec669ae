"""How a disk is asked of its health: what is run, and what becomes of each way in which nothing comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import HoldfastError, NotFoundError, SystemCommandError, UnavailableError
from holdfast.testing.fakes import Answer
from plugins.volume_lvm.tests.test_volume_lvm_driver import Machine

DISK = "/dev/sdb"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    (tmp_path / "kernel/dev").mkdir()
    (tmp_path / "kernel/dev/sdb").touch()
    return made


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 8, 64, 255])
async def test_whatever_it_ends_with_what_it_printed_is_the_answer(machine: Machine, code: int) -> None:
    machine.commands.script = lambda argv, _: Answer('{"smartctl": {}}', returncode=code)
    assert await machine.driver.ask_disk(DISK) == '{"smartctl": {}}'
    (argv,) = machine.commands.calls
    assert (argv[0], argv[-1]) == ("smartctl", DISK)
    # Never without it: a sleeping disk would be woken.
    assert argv[argv.index("-n") + 1] == "standby,3"


async def test_without_the_program_it_is_said_what_to_install(machine: Machine) -> None:
    machine.commands.lacking = frozenset({"smartctl"})
    with pytest.raises(UnavailableError, match="install the package smartmontools"):
        await machine.driver.ask_disk(DISK)
    assert machine.commands.calls == []


async def test_a_disk_that_is_not_there_is_not_asked(machine: Machine) -> None:
    with pytest.raises(NotFoundError):
        await machine.driver.ask_disk("/dev/sdz")
    assert machine.commands.calls == []


async def test_one_that_does_not_answer_in_time_is_silent(machine: Machine) -> None:
    def hang(argv: tuple[str, ...], _: bytes | None) -> Answer:
        raise SystemCommandError(argv, None, "")

    machine.commands.script = hang
    with pytest.raises(UnavailableError, match="did not answer") as caught:
        await machine.driver.ask_disk(DISK)
    assert isinstance(caught.value.__cause__, HoldfastError)
