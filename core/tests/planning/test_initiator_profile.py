"""The profile of an initiator: which commands, and for whom there is none."""

from __future__ import annotations

import pytest

from holdfast.errors import UnsupportedError
from holdfast.hooks.target import Portal
from holdfast.planning.initiator_profile import SETTINGS, initiator_profile

IQN = "iqn.2026-01.com.example:disk"


def test_each_address_gets_a_record_with_every_setting() -> None:
    profile = initiator_profile(IQN, (Portal("192.0.2.9"), Portal("fd00::9", 3261)))
    assert profile.settings == SETTINGS
    assert len(profile.commands) == 2 * (1 + len(SETTINGS))
    assert profile.commands[0] == ("iscsiadm", "-m", "node", "-T", IQN, "-p", "192.0.2.9:3260", "-o", "new")
    last = profile.commands[-1]
    assert last[5:7] == ("-p", "[fd00::9]:3261")
    assert last[-4:] == ("-n", SETTINGS[-1].name, "-v", SETTINGS[-1].value)


def test_without_an_address_there_is_nothing_to_run() -> None:
    assert initiator_profile(IQN, ()).commands == ()


@pytest.mark.parametrize("name", ["naa.6001405000000001", "21:00:00:24:ff:00:00:01"])
def test_a_target_of_another_fabric_has_none(name: str) -> None:
    with pytest.raises(UnsupportedError, match="no target of iSCSI"):
        initiator_profile(name, (Portal("192.0.2.9"),))
