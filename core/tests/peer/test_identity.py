from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from holdfast.errors import ConflictError, InvalidError, VerificationError
from holdfast.peer.identity import load_or_create_identity, read_certificate

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_an_identity_is_made_once_and_then_found_again(tmp_path: Path) -> None:
    first = load_or_create_identity(tmp_path / "i", "a", NOW)
    assert load_or_create_identity(tmp_path / "i", "a", NOW + timedelta(days=1)) == first


def test_two_identities_differ(tmp_path: Path) -> None:
    one = load_or_create_identity(tmp_path / "one", "a", NOW)
    other = load_or_create_identity(tmp_path / "other", "a", NOW)
    assert one.node_id != other.node_id
    assert one.fingerprint != other.fingerprint


def test_the_certificate_names_the_node_and_may_vouch_for_no_other(tmp_path: Path) -> None:
    identity = load_or_create_identity(tmp_path / "i", "a", NOW)
    certificate = x509.load_pem_x509_certificate(identity.certificate_pem.encode())
    named = read_certificate(identity.certificate_pem)
    assert (named.node, named.node_id, named.fingerprint) == ("a", identity.node_id, identity.fingerprint)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


@pytest.mark.parametrize("year", [2000, 2026, 2055])
def test_no_wrong_clock_parts_a_pair(tmp_path: Path, year: int) -> None:
    made = datetime(year, 1, 1, tzinfo=UTC)
    identity = load_or_create_identity(tmp_path / "i", "a", made)
    certificate = x509.load_pem_x509_certificate(identity.certificate_pem.encode())
    assert certificate.not_valid_before_utc <= made - timedelta(days=29 * 365)
    assert certificate.not_valid_after_utc.year == 9999


def test_the_directory_and_the_key_are_closed_to_others(tmp_path: Path) -> None:
    identity = load_or_create_identity(tmp_path / "i", "a", NOW)
    assert stat.S_IMODE((tmp_path / "i").stat().st_mode) == 0o700
    assert stat.S_IMODE(identity.key_path.stat().st_mode) == 0o600


def test_a_directory_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "i").mkdir(mode=0o755)
    load_or_create_identity(tmp_path / "i", "a", NOW)
    assert stat.S_IMODE((tmp_path / "i").stat().st_mode) == 0o700


def test_a_key_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    identity = load_or_create_identity(tmp_path / "i", "a", NOW)
    identity.key_path.chmod(0o644)
    load_or_create_identity(tmp_path / "i", "a", NOW)
    assert stat.S_IMODE(identity.key_path.stat().st_mode) == 0o600


def test_a_making_interrupted_before_the_certificate_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "key.pem.unfinished").write_bytes(b"half a k")
    identity = load_or_create_identity(tmp_path, "a", NOW)
    assert load_or_create_identity(tmp_path, "a", NOW) == identity
    assert not (tmp_path / "key.pem.unfinished").exists()


def test_a_making_interrupted_after_the_certificate_is_finished(tmp_path: Path) -> None:
    identity = load_or_create_identity(tmp_path, "a", NOW)
    identity.key_path.rename(tmp_path / "key.pem.unfinished")
    assert load_or_create_identity(tmp_path, "a", NOW) == identity


@pytest.mark.parametrize("lost", ["certificate.pem", "key.pem"])
def test_a_complete_identity_that_lost_a_half_is_never_replaced(tmp_path: Path, lost: str) -> None:
    load_or_create_identity(tmp_path, "a", NOW)
    (tmp_path / lost).unlink()
    with pytest.raises(VerificationError) as caught:
        load_or_create_identity(tmp_path, "a", NOW)
    assert caught.value.reasons[0].code == "identity-broken"
    assert not (tmp_path / lost).exists()


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    one = load_or_create_identity(tmp_path / "one", "a", NOW)
    other = load_or_create_identity(tmp_path / "other", "a", NOW)
    one.key_path.write_bytes(other.key_path.read_bytes())
    with pytest.raises(VerificationError, match="is not the key of"):
        load_or_create_identity(tmp_path / "one", "a", NOW)


def test_a_node_that_was_renamed_is_told_so(tmp_path: Path) -> None:
    load_or_create_identity(tmp_path, "a", NOW)
    with pytest.raises(ConflictError, match="made for node a"):
        load_or_create_identity(tmp_path, "b", NOW)


@pytest.mark.parametrize(
    "pem", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "ä"]
)
def test_what_is_no_certificate_of_a_node_is_refused(pem: str) -> None:
    with pytest.raises(InvalidError):
        read_certificate(pem)
