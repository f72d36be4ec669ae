"""The offer: settings, probe, opener, and what every command of LVM is told."""

from __future__ import annotations

from pathlib import Path

import marshmallow
import pytest

from holdfast.hooks.base import CONTRACT, Can, Host
from holdfast.testing.fakes import Answer, ScriptedCommands, make_host
from holdfast_volume_lvm.plugin import Plugin
from holdfast_volume_lvm.probe import probe
from holdfast_volume_lvm.settings import Settings, SettingsSchema
from holdfast_volume_lvm.tools import configuration

KERNEL = {"proc/misc": "236 device-mapper\n", "proc/modules": "dm_snapshot 1 0\n", "proc/filesystems": "\txfs\n"}


def make(tmp_path: Path, *, lacking: str = "", kernel: dict[str, str] = KERNEL, loadable: bool = True) -> Host:
    def script(argv: tuple[str, ...], _: bytes | None) -> Answer | None:
        return Answer(returncode=0 if loadable or argv[0] != "modprobe" else 1)

    host = make_host(tmp_path, commands=ScriptedCommands(script, lacking=frozenset({lacking})))
    for path, text in kernel.items():
        file = tmp_path / "kernel" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return host


def test_the_offer_is_for_this_contract() -> None:
    offer = Plugin().volume_driver()
    assert (offer.name, offer.api) == ("lvm", CONTRACT)


def test_every_setting_has_a_default_and_a_description() -> None:
    assert SettingsSchema().load({}) == Settings()
    assert all(field.metadata["description"] for field in SettingsSchema().fields.values())


@pytest.mark.parametrize(
    "given",
    [
        {"unknown": 1},
        {"look_timeout_s": 0},
        {"pv_metadata_bytes": 1},
        {"pv_metadata_bytes": "16777216"},
        {"snapshot_chunk_bytes": 5000},
        {"zero_new_volumes": "yes"},
        {"rejected_devices": ['a" ]']},
        {"rejected_devices": ["a|b"]},
        {"mount_options": ["ro,suid"]},
        {"mount_options": ["-o"]},
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(marshmallow.ValidationError):
        SettingsSchema().load(given)


def test_settings_load_to_a_frozen_value() -> None:
    loaded = SettingsSchema().load({"mount_options": ["nosuid"], "zero_new_volumes": True})
    assert loaded == Settings(mount_options=("nosuid",), zero_new_volumes=True)


def test_lvm_never_looks_at_mirrors_and_never_asks_its_daemon() -> None:
    told = configuration(Settings().rejected_devices)
    for part in ('global_filter=["r|^/dev/drbd|"]', "use_devicesfile=0", "backup=0 archive=0", "monitoring=0"):
        assert part in told


async def test_a_machine_with_everything_misses_nothing(tmp_path: Path) -> None:
    assert await probe(Settings(), make(tmp_path)) == ()
    assert await probe(Settings(), make(tmp_path / "loadable", kernel={})) == ()


async def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    (missing,) = await probe(Settings(), make(tmp_path, lacking="mkfs.xfs"))
    assert "mkfs.xfs" in missing.what
    assert "xfsprogs" in missing.remedy


async def test_a_kernel_without_device_mapper_is_told(tmp_path: Path) -> None:
    missing = await probe(Settings(), make(tmp_path, kernel={"proc/filesystems": "nodev\tproc\n"}, loadable=False))
    assert [found.what.split(" ")[0] for found in missing] == ["dm_mod", "dm_snapshot", "xfs"]


async def test_the_probe_runs_nothing_that_changes_the_machine(tmp_path: Path) -> None:
    host = make(tmp_path, kernel={})
    await probe(Settings(), host)
    assert isinstance(host.commands, ScriptedCommands)
    assert host.commands.calls
    assert all("--dry-run" in argv for argv in host.commands.calls)


async def test_the_driver_opens_without_running_anything(tmp_path: Path) -> None:
    host = make(tmp_path)
    driver = await Plugin().volume_driver().open(Settings(), host)
    assert driver.can == {word for word in Can if word.value.startswith(("volume.", "snapshot.", "pool.", "disk."))}
    assert isinstance(host.commands, ScriptedCommands)
    assert host.commands.calls == []
