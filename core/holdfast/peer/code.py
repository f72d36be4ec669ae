"""The one-time code: shown on one node, typed at the other."""

from __future__ import annotations

import secrets

from holdfast.errors import InvalidError, Reason
from holdfast.values import Secret

# Crockford's base 32: no I, L, O, U, so nothing is mistaken when it is read aloud.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 10  # 50 bits: three guesses against it succeed once in 4e14
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


def make_code() -> Secret:
    """Make a code, in two groups: `7Q2ZK-M41XC`."""
    text = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return Secret(f"{text[:5]}-{text[5:]}")


def read_code(typed: str) -> Secret:
    """Return the code as both nodes know it, however a person typed it. Raises InvalidError."""
    raw = typed.reveal() if isinstance(typed, Secret) else typed
    code = raw.strip().upper().translate(_READ_AS)
    if len(code) != _LENGTH or not set(code) <= set(_ALPHABET):
        text = f"a pairing code has {_LENGTH} letters and digits, such as 7Q2ZK-M41XC"
        raise InvalidError(text, reasons=[Reason("bad-code", text, "type the code that the other node shows", "code")])
    return Secret(code)
