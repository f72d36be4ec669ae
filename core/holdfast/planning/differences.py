"""Where a target as it was asked for differs from what the kernels of both nodes have. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.hooks.target import TargetSpec

ONLY_OPEN = ("block_size_bytes", "may_unmap", "optimal_blocks")
"""Of a unit: what a kernel knows of an open device only, and so of no node that does not serve."""

ABSENT = "absent"


@dataclass(frozen=True)
class Found:
    """What one node has: the target as its kernel says, and whether it serves it."""

    spec: TargetSpec | None
    serves: bool
    is_as_wanted: bool
    """By the driver's own comparison, which sees the passwords too."""


@dataclass(frozen=True)
class Difference:
    """One value that is not the same everywhere. None: not known of that node, or not to be had there."""

    field: str
    wanted: str | None
    this_node: str | None
    other_node: str | None


def differences(
    wanted: TargetSpec, here: Found, there: Found | None, *, is_to_be_here: bool = True
) -> tuple[Difference, ...]:
    """Every field in which a node differs from what is wanted; none for a node that was not asked (`there` None).

    `is_to_be_here` says whether a node that has nothing of it differs: a target that no group serves is nowhere.
    """
    asked = flat(wanted)
    nodes = [_seen(asked, here, is_to_be_here), _seen(asked, there, is_to_be_here)]
    fields = sorted({*asked, *(field for node in nodes if node for field in node)})
    found = []
    for field in fields:
        values = [None if node is None else node.get(field, ABSENT) for node in nodes]
        if any(value not in (None, asked.get(field, ABSENT), UNKNOWN) for value in values):
            shown = [None if value == UNKNOWN else value for value in values]
            found.append(Difference(field, asked.get(field, ABSENT), shown[0], shown[1]))
    if not found and any(
        node is not None and node.spec is not None and not node.is_as_wanted for node in (here, there)
    ):
        said = [None if node is None else ("same" if node.is_as_wanted else "other") for node in (here, there)]
        # All that can be read is equal: what is left are passwords, and objects that no field speaks of.
        found.append(Difference("passwords", "same", said[0], said[1]))
    return tuple(found)


UNKNOWN = "\0unknown"


def flat(spec: TargetSpec) -> dict[str, str]:
    """Each value of a target by the name of its field; passwords are left out."""
    values = {"iqn": spec.iqn, "name": spec.name, "is_open": _text(spec.is_open)}
    for portal in spec.portals:
        values[f"portals[{portal.address}:{portal.port}]"] = "listens"
    for access in spec.access:
        values[f"access[{access.initiator}].cmdsn_depth"] = str(access.cmdsn_depth)
    for unit in spec.units:
        for field in (
            *("name", "device", "serial", "vendor", "product", "revision", "is_read_only", "file_bytes"),
            "has_write_cache",
            *ONLY_OPEN,
        ):
            values[f"units[{unit.lun}].{field}"] = _text(getattr(unit, field))
    return values


def _seen(asked: dict[str, str], found: Found | None, is_to_be_here: bool) -> dict[str, str] | None:
    if found is None or (found.spec is None and not is_to_be_here):
        return None
    if found.spec is None:
        return {}
    values = flat(found.spec)
    if not found.serves:
        values |= {field: UNKNOWN for field in asked if field.rpartition(".")[2] in ONLY_OPEN}
    return values


def _text(value: object) -> str:
    return "default" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
