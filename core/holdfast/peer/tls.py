"""TLS 1.3 between nodes, and to a witness: unverified while pairing, pinned certificates ever after."""

from __future__ import annotations

import ssl

from holdfast.peer.identity import Identity
from holdfast.peer.partner import Partner

HANDSHAKE_S = 3.0


def pairing_server_context(identity: Identity) -> ssl.SSLContext:
    """Serve with this node's certificate; ask the caller for none, for none could be checked yet."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate_path, identity.key_path)
    return context


def pairing_client_context() -> ssl.SSLContext:
    """Accept any certificate: who holds it is proved by the code afterwards, bound to its fingerprint."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def peer_server_context(identity: Identity, partner: Partner) -> ssl.SSLContext:
    """Serve with this node's certificate, and only the one who holds the partner's."""
    return _pinned(_context(ssl.PROTOCOL_TLS_SERVER), identity, partner.certificate_pem)


def peer_client_context(identity: Identity, partner: Partner) -> ssl.SSLContext:
    """Show this node's certificate, and only to the one who holds the partner's."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # nodes are known by their certificate, wherever they are
    return _pinned(context, identity, partner.certificate_pem)


def witness_server_context(identity: Identity, certificates_pem: str) -> ssl.SSLContext:
    """Serve with the witness's certificate, and only those who hold one of these."""
    return _pinned(_context(ssl.PROTOCOL_TLS_SERVER), identity, certificates_pem)


def witness_client_context(identity: Identity, certificate_pem: str) -> ssl.SSLContext:
    """Show this node's certificate, and only to the one who holds the witness's."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _pinned(context, identity, certificate_pem)


def _context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if protocol is ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # no resumption: each connection shows its certificate
    return context


def _pinned(context: ssl.SSLContext, identity: Identity, trusted_pem: str) -> ssl.SSLContext:
    context.load_cert_chain(identity.certificate_path, identity.key_path)
    context.load_verify_locations(cadata=trusted_pem)
    # The certificate itself is the anchor although it is no authority and so can vouch for no other.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.verify_mode = ssl.CERT_REQUIRED
    return context
