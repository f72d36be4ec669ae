"""How a share is offered, beside how it was wanted to be."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from holdfast.hooks.share import ShownSnapshot


def differences(wanted: Any, actual: Any) -> tuple[str, ...]:
    """In sentences, what differs between two exposures of one kind; `actual` is None for what is not offered."""
    if actual is None:
        return ("it is not offered",)
    found = []
    for field in fields(wanted):
        one, other = getattr(wanted, field.name), getattr(actual, field.name)
        if one != other:
            found.append(f"{field.name} is {_told(other)} where {_told(one)} was asked for")
    return tuple(found)


def _told(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_told(item) for item in value) or "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, ShownSnapshot):
        return value.name
    network = getattr(value, "network", None)
    if network is not None:
        return f"{network} ({'read-only' if value.is_read_only else 'read-write'}, squash {value.squash})"
    return str(value)
