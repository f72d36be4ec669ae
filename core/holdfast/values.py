"""Frozen dataclasses to plain JSON and back, strictly.

One codec for everything that is kept or sent: intent in the store, plans on disk, calls between
the nodes. It refuses what it does not know, so that a field misspelt or added by another
version is an error at once and never a silent default. A class that has changed may have a static method
`upgraded`: it turns what a former version wrote into what this one reads.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from holdfast.errors import InvalidError, Reason

T = TypeVar("T")
# JSON has them as they are. Not what is derived from them: a Secret is a str, and True an int.
_PLAIN = frozenset((str, int, float, bool, type(None)))


class Secret(str):
    """A text that never shows itself: in a log, a job record or an answer it reads `***`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def reveal(self) -> str:
        """The text itself, for the one place that needs it."""
        return str.__str__(self)


def to_plain(value: object, *, reveal: bool = False) -> Any:
    """Turn a value into what JSON can hold. Secrets read `***` unless `reveal`."""
    if type(value) in _PLAIN:  # most are, and nearly every call of the API and of the partner comes through here
        return value
    if isinstance(value, Secret):
        return value.reveal() if reveal else "***"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_plain(getattr(value, name), reveal=reveal) for name in _shape(type(value)).hints}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_plain(item, reveal=reveal) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item, reveal=reveal) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(to_plain(item, reveal=reveal) for item in value)
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"{type(value).__name__} has no plain form")


def from_plain(kind: type[T], plain: object, *, path: str = "") -> T:
    """Build a `kind` out of what `to_plain` made. Raises InvalidError naming the field."""
    return typing.cast(T, _build(kind, plain, path))


def _refuse(path: str, text: str) -> InvalidError:
    where = path or "(the whole)"
    return InvalidError(
        f"{where}: {text}", reasons=[Reason("bad-value", text, "give a value of the documented type", where)]
    )


@dataclass(frozen=True)
class _Shape:
    hints: dict[str, Any]
    """Of each field, in order, its type."""
    needed: tuple[str, ...]
    """Those without a default."""


@cache
def _shape(kind: type) -> _Shape:
    fields, hints = dataclasses.fields(kind), typing.get_type_hints(kind)
    missing = dataclasses.MISSING
    needed = tuple(f.name for f in fields if f.default is missing and f.default_factory is missing)
    return _Shape({f.name: hints[f.name] for f in fields}, needed)


def _build(kind: Any, plain: Any, path: str) -> Any:
    if kind in _PLAIN and type(plain) is kind:
        return plain
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(kind)
        if plain is None and type(None) in options:
            return None
        real = [option for option in options if option is not type(None)]
        if len(real) == 1:
            return _build(real[0], plain, path)
        raise TypeError(f"{kind} is ambiguous")
    if origin is tuple:
        return _build_tuple(kind, plain, path)
    if origin in (dict, Mapping):
        key_kind, item_kind = typing.get_args(kind)
        if not isinstance(plain, dict):
            raise _refuse(path, "an object is needed")
        return {key_kind(key): _build(item_kind, item, f"{path}.{key}") for key, item in plain.items()}
    if kind is Any:
        return plain
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(typing.cast(type, kind), plain, path)
    return _build_scalar(kind, plain, path)


def _build_tuple(kind: Any, plain: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(plain, (list, tuple)):
        raise _refuse(path, "a list is needed")
    item_kinds = typing.get_args(kind)
    if len(item_kinds) == 2 and item_kinds[1] is Ellipsis:
        return tuple(_build(item_kinds[0], item, f"{path}[{i}]") for i, item in enumerate(plain))
    if len(item_kinds) != len(plain):
        raise _refuse(path, f"{len(item_kinds)} items are needed, not {len(plain)}")
    return tuple(_build(k, item, f"{path}[{i}]") for i, (k, item) in enumerate(zip(item_kinds, plain, strict=True)))


def _build_dataclass(kind: type, plain: Any, path: str) -> Any:
    if not isinstance(plain, dict):
        raise _refuse(path, "an object is needed")
    if (upgraded := getattr(kind, "upgraded", None)) is not None:
        plain = upgraded(plain)
    shape = _shape(kind)
    if unknown := sorted(set(plain) - set(shape.hints)):
        raise _refuse(f"{path}.{unknown[0]}".lstrip("."), "unknown field")
    for name in shape.needed:
        if name not in plain:
            raise _refuse(f"{path}.{name}".lstrip("."), "this field is missing")
    return kind(**{name: _build(shape.hints[name], item, f"{path}.{name}".lstrip(".")) for name, item in plain.items()})


def _build_scalar(kind: Any, plain: Any, path: str) -> Any:
    if kind is datetime:
        if not isinstance(plain, str):
            raise _refuse(path, "an RFC 3339 instant is needed")
        try:
            return datetime.fromisoformat(plain)
        except ValueError as reason:
            raise _refuse(path, "an RFC 3339 instant is needed") from reason
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(plain)
        except ValueError as reason:
            raise _refuse(path, f"{plain!r} is none of {', '.join(str(item.value) for item in kind)}") from reason
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    if kind is Secret and isinstance(plain, str):
        return Secret(plain)
    # bool is an int to Python, and never meant to be one here.
    if isinstance(kind, type) and isinstance(plain, kind) and (kind is bool or not isinstance(plain, bool)):
        return plain
    raise _refuse(path, f"a value of type {getattr(kind, '__name__', kind)} is needed")
