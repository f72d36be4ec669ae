"""The offer: settings, probe, opener."""

from __future__ import annotations

from pathlib import Path

import marshmallow
import pytest

from holdfast.errors import SystemCommandError, UnavailableError
from holdfast.hooks.base import CONTRACT, Host
from holdfast.testing.fakes import Answer, ScriptedCommands, make_host
from holdfast_iscsi_lio.plugin import Plugin
from holdfast_iscsi_lio.settings import Settings, SettingsSchema

MOUNTS = "configfs /sys/kernel/config configfs rw,relatime 0 0\n"


def make(tmp_path: Path, *, release: str = "6.1.0-50-amd64", mounts: str = MOUNTS, lacking: str = "") -> Host:
    def script(argv: tuple[str, ...], _: bytes | None) -> Answer | None:
        if argv[0] != "modprobe":
            return None
        return Answer(returncode=1 if lacking and lacking in argv else 0, stderr="not found")

    host = make_host(tmp_path, commands=ScriptedCommands(script))
    for path, text in (("proc/sys/kernel/osrelease", release + "\n"), ("proc/self/mounts", mounts)):
        file = tmp_path / "kernel" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return host


async def probe(host: Host) -> list[str]:
    return [missing.what for missing in await Plugin().target_driver().probe(Settings(5.0), host)]


def test_the_offer_is_for_this_contract() -> None:
    assert Plugin().target_driver().api == CONTRACT


def test_every_setting_has_a_default_and_a_description() -> None:
    assert SettingsSchema().load({}) == Settings(deadline_s=5.0)
    for name, field in SettingsSchema().fields.items():
        assert field.metadata["description"], name


@pytest.mark.parametrize("data", [{"deadline_s": 0}, {"deadline_s": "soon"}, {"deadline": 5}])
def test_wrong_settings_are_refused(data: dict[str, object]) -> None:
    with pytest.raises(marshmallow.ValidationError):
        SettingsSchema().load(data)


async def test_a_machine_that_has_everything_lacks_nothing(tmp_path: Path) -> None:
    assert await probe(make(tmp_path)) == []


async def test_the_probe_loads_no_module(tmp_path: Path) -> None:
    host = make(tmp_path)
    await probe(host)
    assert isinstance(host.commands, ScriptedCommands)
    assert host.commands.calls
    assert all("--dry-run" in argv for argv in host.commands.calls)


async def test_each_lack_is_told_by_name(tmp_path: Path) -> None:
    found = await probe(make(tmp_path, release="5.15.0-91-generic", mounts="", lacking="iscsi_target_mod"))
    assert found == ["Linux 6.0 or newer", "the kernel module iscsi_target_mod", "configfs on /sys/kernel/config"]


async def test_without_modprobe_that_is_what_is_missing(tmp_path: Path) -> None:
    host = make(tmp_path)
    object.__setattr__(host.commands, "lacking", frozenset({"modprobe"}))
    assert await probe(host) == ["the program modprobe"]


async def test_opening_loads_the_modules_and_makes_the_root_of_targets(tmp_path: Path) -> None:
    host = make(tmp_path)
    host.kernel.path("/sys/kernel/config/target").mkdir(parents=True)
    host.kernel.path("/sys/kernel/config/target/dbroot").write_text("/etc/target\n")
    await Plugin().target_driver().open(Settings(5.0), host)
    assert isinstance(host.commands, ScriptedCommands)
    assert host.commands.calls[0][:2] == ("modprobe", "--all")
    assert host.kernel.exists("/sys/kernel/config/target/iscsi")
    # It can be set only before any fabric is loaded.
    assert host.kernel.read("/sys/kernel/config/target/dbroot") == str(host.state_dir / "dbroot")
    assert [argv[-1] for argv in host.commands.calls] == ["target_core_file", "iscsi_target_mod"]


async def test_opening_without_the_kernel_tree_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no iSCSI targets"):
        await Plugin().target_driver().open(Settings(5.0), make(tmp_path))


async def test_opening_without_the_modules_fails(tmp_path: Path) -> None:
    with pytest.raises(SystemCommandError):
        await Plugin().target_driver().open(Settings(5.0), make(tmp_path, lacking="target_core_mod"))
