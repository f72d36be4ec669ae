from __future__ import annotations

import stat
from pathlib import Path

import pytest

from holdfast.errors import VerificationError
from holdfast.peer.partner import Partner, PartnerFile
from holdfast.values import Secret

PARTNER = Partner("b", "5e3c", "10.0.0.2", 8444, "PEM", Secret("ab" * 32))


def test_a_partner_is_remembered_whole_with_its_key(tmp_path: Path) -> None:
    file = PartnerFile(tmp_path / "partner.json")
    file.save(PARTNER)
    loaded = file.load()
    assert loaded == PARTNER
    assert loaded is not None
    assert loaded.key.reveal() == "ab" * 32


def test_the_file_is_closed_to_others(tmp_path: Path) -> None:
    PartnerFile(tmp_path / "partner.json").save(PARTNER)
    assert stat.S_IMODE((tmp_path / "partner.json").stat().st_mode) == 0o600


def test_before_pairing_there_is_no_partner_and_forgetting_is_success(tmp_path: Path) -> None:
    file = PartnerFile(tmp_path / "partner.json")
    file.forget()
    assert file.load() is None


def test_a_forgotten_partner_is_gone(tmp_path: Path) -> None:
    file = PartnerFile(tmp_path / "partner.json")
    file.save(PARTNER)
    file.forget()
    assert file.load() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"node": "b"}'])
def test_a_file_that_is_not_understood_is_an_error_and_not_no_partner(tmp_path: Path, text: str) -> None:
    (tmp_path / "partner.json").write_text(text)
    with pytest.raises(VerificationError):
        PartnerFile(tmp_path / "partner.json").load()


def test_the_key_shows_in_no_representation() -> None:
    assert "abab" not in repr(PARTNER)
