"""What is packaged fits what it is packaged for."""

from __future__ import annotations

import configparser
import re
import tomllib

import pytest

from holdfast.config import Config, parse_config
from holdfast.services.groups.moves import MOVE_WITHIN_S
from holdfast_cli.nouns.node import node
from tests.architecture.rules import ROOT

PACKAGING = ROOT / "packaging"


class _Unit(configparser.ConfigParser):
    """A unit of systemd, whose names have capitals."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def test_the_settings_file_shows_the_defaults() -> None:
    shown = tomllib.loads((PACKAGING / "holdfast.toml").read_text())

    assert parse_config(shown, source="holdfast.toml") == Config(node="a")


def test_what_the_settings_file_shows_commented_out_is_accepted() -> None:
    text = re.sub(r"^# (?=\[plugins|\w+ = )", "", (PACKAGING / "holdfast.toml").read_text(), flags=re.MULTILINE)

    config = parse_config(tomllib.loads(text), source="holdfast.toml")

    assert config.roles == {"volume": "lvm"}
    assert set(config.plugins) == {"lvm"}


@pytest.mark.parametrize("name", ["holdfastd", "holdfast-monitor"])
def test_a_unit_starts_a_program_that_core_installs(name: str) -> None:
    unit = _Unit(strict=False, interpolation=None)
    unit.read(PACKAGING / f"{name}.service")
    scripts = tomllib.loads((ROOT / "core/pyproject.toml").read_text())["project"]["scripts"]

    program, *arguments = unit["Service"]["ExecStart"].split()

    assert program.rpartition("/")[2] == name
    assert name in scripts
    assert arguments == ["--config", "/etc/holdfast/holdfast.toml"]


def test_the_witness_unit_starts_a_program_that_core_installs_and_can_write_to_nothing_else() -> None:
    unit = _Unit(strict=False, interpolation=None)
    unit.read(PACKAGING / "holdfast-witness.service")
    service = unit["Service"]

    program, *arguments = service["ExecStart"].split()

    assert program.rpartition("/")[2] in tomllib.loads((ROOT / "core/pyproject.toml").read_text())["project"]["scripts"]
    assert arguments == ["--directory", f"/var/lib/{service['StateDirectory']}"]
    assert (service["ProtectSystem"], service["DynamicUser"]) == ("strict", "yes")


def test_what_is_served_is_handed_over_while_everything_that_it_takes_still_runs() -> None:
    unit = _Unit(strict=False, interpolation=None)
    unit.read(PACKAGING / "holdfast-drain.service")

    program, *line = unit["Service"]["ExecStop"].removeprefix("-").split()

    # systemd.unit(5): what was started after another unit is stopped before it.
    assert {"holdfastd.service", "holdfast-monitor.service"} <= set(unit["Unit"]["After"].split())
    assert (unit["Service"]["Type"], unit["Service"]["RemainAfterExit"]) == ("oneshot", "yes")
    assert program.rpartition("/")[2] in tomllib.loads((ROOT / "cli/pyproject.toml").read_text())["project"]["scripts"]
    with node.make_context("node", line[1:]) as context:
        drain = node.get_command(context, line[1])
        assert drain is not None
        assert line[0] == node.name
        options = drain.make_context("drain", line[2:]).params
    within_s, gives_up_s = options["within_s"], options["timeout_s"]
    assert within_s + MOVE_WITHIN_S < gives_up_s < float(unit["Service"]["TimeoutStopSec"].removesuffix("s"))


@pytest.mark.parametrize("name", ["holdfastd", "holdfast-monitor"])
def test_a_unit_gives_no_mounts_of_its_own(name: str) -> None:
    # systemd.exec(5): each of these starts the service in a mount namespace, where mounts stay unseen by others.
    private = re.compile(
        r"^(Private|Protect(System|Home|Kernel|Control|Proc)|ReadOnly|ReadWrite|Inaccess|Bind|Temp)", re.M
    )

    assert private.findall((PACKAGING / f"{name}.service").read_text()) == []
