"""Who this node is to the other one: a key that never leaves it, and a certificate to pin."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from holdfast.errors import ConflictError, InvalidError, Reason, VerificationError
from holdfast.system.files import sync_directory, write_atomically

log = logging.getLogger(__name__)

_URN = "urn:node:"
# The certificate is pinned whole, so its dates decide nothing; but TLS checks them. They span so much that no
# wrong wall clock, at the making or later, can part a pair. The end means "no well-defined expiration" (RFC 5280,
# 4.1.2.5).
_DATED_BACK = timedelta(days=30 * 365)
_NO_END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@dataclass(frozen=True)
class Identity:
    """This node as the partner knows it. `fingerprint` is the SHA-256 of the certificate's DER form, in hex."""

    node: str
    node_id: str
    certificate_pem: str
    certificate_path: Path
    key_path: Path
    fingerprint: str


@dataclass(frozen=True)
class Named:
    """What a node's certificate says; `certificate_pem` is that one certificate and nothing around it."""

    node: str
    node_id: str
    certificate_pem: str
    fingerprint: str


def load_or_create_identity(directory: Path, node: str, now: datetime) -> Identity:
    """Return the identity kept in `directory`; make it when there was never one.

    A making that was interrupted is begun anew, as long as no certificate had been completed: until then nobody
    can have pinned it. Raises VerificationError when half of a complete identity is gone or both halves do not
    belong together, ConflictError when it was made for a node of another name.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    certificate_path, key_path = directory / "certificate.pem", directory / "key.pem"
    with _locked(directory):
        # The key takes its name after the certificate: a lone key.pem is then never a making that was
        # interrupted, but a certificate that was lost.
        unfinished = directory / "key.pem.unfinished"
        if not certificate_path.exists() and not key_path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            write_atomically(unfinished, _key_pem(key), mode=0o600)
            write_atomically(certificate_path, _self_signed(key, node, now), mode=0o644)
        if certificate_path.exists() and not key_path.exists() and unfinished.exists():
            os.replace(unfinished, key_path)
            sync_directory(directory)
        return _load(certificate_path, key_path, node)


def read_certificate(pem: str) -> Named:
    """Read a node's certificate. Raises InvalidError when it is not one of ours."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
        certificate.verify_directly_issued_by(certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (urn,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        (common_name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if not urn.startswith(_URN):
            raise ValueError(f"{urn} does not name a node")
        node_id = str(uuid.UUID(urn.removeprefix(_URN)))
    except (ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature) as reason:
        raise InvalidError(f"this is not the certificate of a node: {reason}") from reason
    der = certificate.public_bytes(serialization.Encoding.DER)
    own_pem = certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
    return Named(str(common_name.value), node_id, own_pem, fingerprint_of(der))


def fingerprint_of(der: bytes) -> str:
    """Name a certificate by the SHA-256 of its DER form, in hex."""
    return hashlib.sha256(der).hexdigest()


def der_of(pem: str) -> bytes:
    """Return the DER form of the first certificate in `pem`, which is what fingerprints are made of."""
    return x509.load_pem_x509_certificate(pem.encode("ascii")).public_bytes(serialization.Encoding.DER)


def _load(certificate_path: Path, key_path: Path, node: str) -> Identity:
    remedy = f"restore {certificate_path.parent} from a backup; or empty it to become a new node, and pair again"
    try:
        certificate_pem = certificate_path.read_text("ascii")
        if stat.S_IMODE(key_path.stat().st_mode) & 0o077:
            log.warning("%s was open to others; it is closed now, but pair anew if that was long", key_path)
            key_path.chmod(0o600)
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
        certified = x509.load_pem_x509_certificate(certificate_pem.encode("ascii")).public_key()
        named = read_certificate(certificate_pem)
    except (OSError, ValueError, InvalidError) as reason:
        raise VerificationError(
            f"the identity of this node is not whole: {reason}",
            reasons=[Reason("identity-broken", str(reason), remedy)],
        ) from reason
    if _public(key.public_key()) != _public(certified):
        text = f"{key_path} is not the key of {certificate_path}"
        raise VerificationError(text, reasons=[Reason("identity-broken", text, remedy)])
    if named.node != node:
        text = f"the identity was made for node {named.node}, but the settings call this node {node}"
        raise ConflictError(text, reasons=[Reason("node-renamed", text, "give the node its old name", "node")])
    return Identity(node, named.node_id, certificate_pem, certificate_path, key_path, named.fingerprint)


def _public(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise VerificationError("the key of this node is not an elliptic curve key")
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _self_signed(key: ec.EllipticCurvePrivateKey, node: str, now: datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    urn = x509.UniformResourceIdentifier(f"{_URN}{uuid.uuid4()}")
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DATED_BACK)
        .not_valid_after(_NO_END)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([urn]), critical=False)
        .add_extension(usage, critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Let one process at a time make the identity: the daemon and the monitor start together."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
