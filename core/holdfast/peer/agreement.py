"""How a short code becomes a strong key that nobody between the nodes can know. No I/O.

SPAKE2 (RFC 9382) lets each side test one guess of the code per exchange, and no more afterwards. Its key is mixed
with a transcript of both greetings, which hold both certificates, and of the certificate that TLS showed. The
first sealed message of each side therefore proves three things at once: it knows the code, it has seen the same
certificates, and nobody ends the TLS connection in between.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from spake2.ed25519_basic import NotOnCurve
from spake2.spake2 import SPAKE2_A, SPAKE2_B, SPAKEError

from holdfast.errors import DeniedError
from holdfast.peer.wire import read_object
from holdfast.values import Secret

_LABEL = b"holdfast pairing 1"
_ELEMENT_BYTES = 33  # a side's letter and a compressed point


class Role(StrEnum):
    """Which side of a pairing a node is on."""

    OFFER = "offer"
    JOIN = "join"

    @property
    def other(self) -> Role:
        """The opposite side."""
        return Role.JOIN if self is Role.OFFER else Role.OFFER


def transcript_of(*, join_hello: bytes, offer_hello: bytes, offer_certificate: bytes) -> bytes:
    """Digest what both sides must have seen alike; `offer_certificate` is the one of the TLS connection, in DER."""
    digest = hashlib.sha256(_LABEL)
    for part in (join_hello, offer_hello, hashlib.sha256(offer_certificate).digest()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


class Agreement:
    """One side's half of one exchange. `element` is what the other side needs of it."""

    def __init__(self, role: Role, code: Secret) -> None:
        self._role = role
        kind: Any = SPAKE2_A if role is Role.OFFER else SPAKE2_B
        self._spake = kind(code.reveal().encode(), idA=_LABEL + b" offer", idB=_LABEL + b" join")
        self.element: bytes = self._spake.start()

    def conclude(self, element: bytes, transcript: bytes) -> Keys:
        """Return the keys of this exchange; they equal the other side's only if code and transcript do.

        May be called once. Raises DeniedError when `element` is not a point of the curve.
        """
        try:
            if len(element) != _ELEMENT_BYTES:
                raise ValueError(f"{len(element)} bytes are no element")
            shared: bytes = self._spake.finish(element)
        except (SPAKEError, NotOnCurve, ValueError) as reason:
            raise DeniedError("the other side did not take part in the key agreement") from reason
        return Keys(self._role, shared, transcript)


class Keys:
    """What one exchange yields: a seal for its remaining messages, and the key that stays."""

    def __init__(self, role: Role, shared: bytes, transcript: bytes) -> None:
        self._role = role
        self._transcript = transcript
        self._seals = {side: _derive(shared, transcript, f"seal of {side}") for side in Role}
        self.heartbeat_key = Secret(_derive(shared, transcript, "heartbeat key").hex())

    def seal(self, label: str, body: Mapping[str, Any]) -> bytes:
        """Return a frame that only the other side of this exchange can have got from this one."""
        text = json.dumps(body)
        return json.dumps({"body": text, "mac": self._mac(self._role, label, text)}).encode()

    def unseal(self, label: str, frame: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the other side sealed under `label`. Raises DeniedError."""
        text, mac = frame.get("body"), frame.get("mac")
        if not isinstance(text, str) or not isinstance(mac, str) or not (text + mac).isascii():
            raise DeniedError("the other side did not prove that it knows the code")
        if not hmac.compare_digest(mac, self._mac(self._role.other, label, text)):
            raise DeniedError("the code is wrong, or somebody stands between the nodes")
        return read_object(text.encode())

    def proof_of(self, key: Secret, side: Role) -> str:
        """Prove for `side` that it holds `key` of an earlier pairing, without showing it."""
        return hmac.digest(bytes.fromhex(key.reveal()), b"held by " + side.encode() + self._transcript, "sha256").hex()

    def _mac(self, side: Role, label: str, text: str) -> str:
        message = label.encode() + b"\0" + text.encode()
        return hmac.digest(self._seals[side], message, "sha256").hex()


def _derive(shared: bytes, transcript: bytes, label: str) -> bytes:
    return HKDF(hashes.SHA256(), length=32, salt=transcript, info=_LABEL + b" " + label.encode()).derive(shared)
