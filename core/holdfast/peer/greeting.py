"""The first frame of a pairing, and whether a node may become the partner of this one."""

from __future__ import annotations

import hmac
import ipaddress
import json
from dataclasses import dataclass
from typing import Any

from holdfast.errors import ConflictError, InvalidError, Reason
from holdfast.peer.agreement import Keys, Role
from holdfast.peer.identity import Identity, read_certificate
from holdfast.peer.partner import Partner, PartnerFile
from holdfast.peer.wire import FEATURES, VERSION, error_from_plain, read_object, refuse_unknown_version
from holdfast.values import Secret, from_plain, to_plain


@dataclass(frozen=True)
class Hello:
    """What each side says first. `address` is where its peer server listens; None means on every address."""

    version: int
    features: tuple[str, ...]
    element: str
    certificate_pem: str
    address: str | None
    port: int

    @classmethod
    def read(cls, frame: bytes) -> Hello:
        """Parse a frame. Raises UnsupportedError for another version, InvalidError, or the error it holds instead."""
        plain = read_frame(frame)
        refuse_unknown_version(plain)
        hello = from_plain(cls, plain)
        try:
            bytes.fromhex(hello.element)
            if hello.address is not None:
                ipaddress.ip_address(hello.address)
        except ValueError as reason:
            raise InvalidError(f"the other side's greeting is not understood: {reason}") from reason
        if not 0 < hello.port < 65536:
            raise InvalidError(f"the other side names port {hello.port}, which is none")
        return hello


@dataclass(frozen=True)
class Side:
    """What this node brings to any pairing: `address` and `port` are those of its peer server."""

    identity: Identity
    partners: PartnerFile
    address: str | None
    port: int

    def hello(self, element: bytes) -> bytes:
        """Greet."""
        features = tuple(sorted(FEATURES))
        pem = self.identity.certificate_pem
        return json.dumps(to_plain(Hello(VERSION, features, element.hex(), pem, self.address, self.port))).encode()

    def admit(self, hello: Hello, seen_address: str, key: Secret) -> Partner:
        """Return the partner that the greeting node would be. Raises ConflictError when it can't become ours."""
        named = read_certificate(hello.certificate_pem)
        if named.node_id == self.identity.node_id:
            raise ConflictError("a node can't be paired with itself")
        if named.node == self.identity.node:
            text = f"both nodes are called {named.node}"
            raise ConflictError(text, reasons=[Reason("same-name", text, "give one node another name")])
        known = self.partners.load()
        if known is not None and known.is_given_up:
            if named.node != known.node:
                text = f"node {self.identity.node} knows its partner as {known.node}, and this one is {named.node}"
                remedy = f"call the machine that takes the place of {known.node} by that name"
                raise ConflictError(text, reasons=[Reason("other-name", text, remedy)])
        elif known is not None and read_certificate(known.certificate_pem) != named:
            text = f"node {self.identity.node} is already paired with node {known.node} ({known.node_id})"
            remedy = f"if {known.node} is lost for good, give it up first: POST /v1/pairing/give-up"
            raise ConflictError(text, reasons=[Reason("already-paired", text, remedy)])
        address = hello.address or seen_address
        return Partner(named.node, named.node_id, address, hello.port, named.certificate_pem, key)

    def held_key(self) -> Secret | None:
        """Return the key of an earlier pairing, which is with the same node wherever `admit` has passed."""
        known = self.partners.load()
        return None if known is None or known.is_given_up else known.key


def read_frame(frame: bytes) -> dict[str, Any]:
    """Parse a frame. Raises InvalidError, or the error that the other side sent in place of what was expected."""
    plain = read_object(frame)
    if "error" in plain:
        raise error_from_plain(plain["error"])
    return plain


def is_held(proof: object, keys: Keys, held: Secret, side: Role) -> bool:
    """Say whether `side` proved that it holds the same key of an earlier pairing."""
    return isinstance(proof, str) and proof.isascii() and hmac.compare_digest(proof, keys.proof_of(held, side))
