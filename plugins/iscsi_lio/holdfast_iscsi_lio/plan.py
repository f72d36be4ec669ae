"""The difference between two trees, as steps in an order that the kernel accepts. Pure.

First the target stops serving, if it is to stop; then what must go goes in the reverse order of the
tree; then what is missing comes in the order of the tree. Interrupted after any step, a new plan
made from what is then actual reaches the same end.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast_iscsi_lio.tree import (
    AS_MADE,
    BUFFERED,
    CORE,
    LIVE,
    RESERVED,
    Attribute,
    Directory,
    Item,
    Link,
    Tree,
    parent,
    size_in,
)


@dataclass(frozen=True)
class MakeDirectory:
    """Make an object."""

    path: str


@dataclass(frozen=True)
class RemoveDirectory:
    """Remove an object."""

    path: str


@dataclass(frozen=True)
class MakeLink:
    """Tie two objects together."""

    path: str
    target: str


@dataclass(frozen=True)
class RemoveLink:
    """Take a tie away."""

    path: str


@dataclass(frozen=True)
class Write:
    """Write an attribute."""

    path: str
    value: str


Step = MakeDirectory | RemoveDirectory | MakeLink | RemoveLink | Write


def plan(actual: Tree, wanted: Tree) -> tuple[Step, ...]:
    """The steps from `actual` to `wanted`; none if nothing differs. An empty `wanted` removes everything."""
    gone = _gone(actual, wanted)
    held = {item.path: item for item in actual if item.path not in gone}
    steps: list[Step] = [Write(path, "0") for path in _services_to_stop(actual, wanted)]
    steps += [_removal(item) for item in reversed(actual) if item.path in gone and not isinstance(item, Attribute)]
    steps += [_addition(item) for item in wanted if held.get(item.path) != item and not _holds_by_itself(item)]
    return tuple(steps)


def _services_to_stop(actual: Tree, wanted: Tree) -> list[str]:
    serving = {item.path for item in wanted if isinstance(item, Attribute) and item.value == "1"}
    return [
        item.path
        for item in actual
        if isinstance(item, Attribute)
        and not item.path.startswith(CORE)
        and item.path.endswith("/enable")
        and item.value == "1"
        and item.path not in serving
    ]


def _holds_by_itself(item: Item) -> bool:
    # An `enable` of 0 is how objects begin, and how `_services_to_stop` left a target.
    return isinstance(item, Attribute) and (
        item.value == AS_MADE or (item.path.endswith("/enable") and item.value == "0")
    )


def _removal(item: Item) -> Step:
    return RemoveLink(item.path) if isinstance(item, Link) else RemoveDirectory(item.path)


def _addition(item: Item) -> Step:
    if isinstance(item, Directory):
        return MakeDirectory(item.path)
    if isinstance(item, Link):
        return MakeLink(item.path, item.target)
    return Write(item.path, item.value)


def _gone(actual: Tree, wanted: Tree) -> set[str]:
    """The paths in `actual` that must go, if only to come again."""
    asked = {item.path: item for item in wanted}
    gone = {item.path for item in actual if not isinstance(item, Attribute) and asked.get(item.path) != item}
    gone |= stores_to_make_afresh(actual, wanted)
    while True:
        before = len(gone)
        parents = {parent(path) for path in gone}
        gone |= {item.path for item in actual if _falls_with(item, gone, parents)}
        if len(gone) == before:
            return gone


def stores_to_make_afresh(actual: Tree, wanted: Tree) -> set[str]:
    """Backstores that differ in what the kernel does not change: of an open one, and a write cache of any.

    (`control` of a block device fails with EEXIST and `wwn` with EINVAL then; `enable` takes only "1". A file may
    become larger.)
    """
    asked = {item.path: item for item in wanted}
    enabled = {parent(item.path) for item in actual if item == Attribute(item.path, "1") and _is_store_enable(item)}
    differing = [
        parent(item.path)
        for item in actual
        if isinstance(item, Attribute) and asked.get(item.path) != item and not _may_differ(item, asked)
    ]
    afresh = enabled & {store for place in differing for store in (place, parent(place))}
    return afresh | {parent(item.path) for item in actual if _loses_cache(item, asked)}


def _loses_cache(item: Item, asked: dict[str, Item]) -> bool:
    other = asked.get(item.path)
    return (
        isinstance(item, Attribute)
        and isinstance(other, Attribute)
        and item.path.endswith("/control")
        and str(item.value).endswith(BUFFERED)
        and item.value != other.value
        and not _grows(item, other)
    )


def _grows(item: Attribute, other: Item | None) -> bool:
    """Whether what is asked for is the same file, larger, and differs in nothing else."""
    if not item.path.endswith("/control") or not isinstance(other, Attribute):
        return False
    before, after = size_in(item.value), size_in(other.value)
    if before is None or after is None or after <= before:
        return False
    return item.value.replace(f"={before}", f"={after}") == other.value


def _may_differ(item: Attribute, asked: dict[str, Item]) -> bool:
    """Whether an attribute of an open backstore can be written, or is not asked for at all."""
    if item.path.endswith(f"/{RESERVED}"):
        return item.path not in asked
    other = asked.get(item.path)
    if _grows(item, other):
        return True
    return item.path.endswith(LIVE) and isinstance(other, Attribute) and other.value != AS_MADE


def _is_store_enable(item: Item) -> bool:
    return item.path.startswith(CORE) and item.path.endswith("/enable")


def _falls_with(item: Item, gone: set[str], parents: set[str]) -> bool:
    """Whether an item cannot outlive those in `gone`, whose directories are `parents`."""
    above = parent(item.path)
    if above in gone or parent(above) in gone:
        return True
    if isinstance(item, Link):
        # A mapped LUN outlives its LUN's link to the backstore as a link to nothing, so it goes first.
        return item.target in gone or item.target in parents
    # What is written to a mapped LUN is lost with its link.
    return item.path.endswith("/write_protect") and above in parents
