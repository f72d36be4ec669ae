"""Fields that several nouns share. Strict: "5", 5.0 and true are no integers."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from holdfast.config import NAME
from holdfast.planning.write_once import LONGEST_S, SHORTEST_S
from holdfast.values import Secret

MOST_BYTES = 2**60
IQN = re.compile(r"iqn\.\d{4}-\d{2}\.[a-z0-9][a-z0-9.-]{0,100}(:[a-z0-9][a-z0-9.:-]{0,100})?\Z")

OTHER_FABRIC = re.compile(r"(naa\.[0-9a-f]{16}|(fcoe\.)?([0-9a-f]{2}:){7}[0-9a-f]{2})\Z")
INITIATOR = re.compile(
    rf"({IQN.pattern[:-2]}|eui\.[0-9a-f]{{16}}|naa\.[0-9a-f]{{16,32}}|([0-9a-f]{{2}}:){{7}}[0-9a-f]{{2}})\Z"
)


class Name(fields.String):
    """A name of ours: 1 to 31 of a-z, 0-9 and `-`, a letter first. No option, path or line break can hide in one."""

    def __init__(self, **keywords: Any) -> None:
        pattern = NAME.pattern.removesuffix(r"\Z") + "$"
        super().__init__(metadata={"pattern": pattern}, **keywords)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> str:
        text = super()._deserialize(value, attr, data, **keywords)
        if text is None or not NAME.match(text):
            raise ValidationError("a name is 1 to 31 characters of a-z, 0-9 and '-', a letter first")
        return str(text)


class Bytes(fields.Integer):
    """A size in bytes, above zero."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(min=1, max=MOST_BYTES), **keywords)


class RetentionSeconds(fields.Integer):
    """How long a file is retained: up to a hundred years."""

    def __init__(self, **keywords: Any) -> None:
        allowed = validate.Range(min=SHORTEST_S, max=LONGEST_S)
        super().__init__(strict=True, validate=allowed, **keywords)


class Rate(fields.Integer):
    """Bytes a second: 1 MiB to 4 GiB."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(min=1024**2, max=4 * 1024**3), **keywords)


class Port(fields.Integer):
    """A TCP or UDP port."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(min=1, max=65535), **keywords)


class Address(fields.String):
    """An IPv4 or IPv6 address, in its canonical form."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> str:
        text = super()._deserialize(value, attr, data, **keywords)
        try:
            return str(ipaddress.ip_address(str(text)))
        except ValueError as reason:
            raise ValidationError("an IPv4 or IPv6 address is needed") from reason


class SecretText(fields.String):
    """A password: 1 to 256 printable characters, never shown again."""

    def __init__(self, *, shortest: int = 1, **keywords: Any) -> None:
        self._shortest = shortest
        super().__init__(load_only=True, **keywords)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> Secret:
        text = str(super()._deserialize(value, attr, data, **keywords))
        if not self._shortest <= len(text) <= 256 or not text.isprintable() or not text.isascii():
            raise ValidationError(f"{self._shortest} to 256 printable ASCII characters are needed")
        return Secret(text)


class Iqn(fields.String):
    """An iSCSI qualified name (RFC 3720, 3.2.6.3.1), as LIO checks it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> str:
        text = str(super()._deserialize(value, attr, data, **keywords))
        if not IQN.match(text):
            raise ValidationError("an IQN such as iqn.2026-01.com.example:disk1 is needed")
        return text


class Initiator(fields.String):
    """The name of an initiator: an IQN, EUI or NAA, or a Fibre Channel port."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> str:
        text = str(super()._deserialize(value, attr, data, **keywords))
        if not INITIATOR.match(text):
            raise ValidationError("an initiator is named by IQN, EUI, NAA or port, in small letters")
        return text


class TargetName(fields.String):
    """The name of a target on the wire: an IQN, or that of another fabric, which its driver checks."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **keywords: Any) -> str:
        text = str(super()._deserialize(value, attr, data, **keywords))
        if not IQN.match(text) and not OTHER_FABRIC.match(text):
            raise ValidationError(
                "an IQN such as iqn.2026-01.com.example:disk1 is needed, naa. and 16 hexadecimal digits for a loopback,"
                " or the eight bytes of a Fibre Channel port"
            )
        return text


class User(fields.String):
    """A replication ID: 1 to 63 of letters, digits, `.`, `_` and `-`."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(validate=validate.Regexp(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z"), **keywords)


class NoFields(Schema):
    """A body or query that takes nothing."""
