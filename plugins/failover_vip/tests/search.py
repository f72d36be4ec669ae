"""Breadth-first search through every world that so many faults can lead to."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from holdfast.hooks.failover import GroupState
from plugins.failover_vip.tests.abstract_world import ON, RUNS, Model, World


@dataclass
class Found:
    """What a search saw."""

    faults: dict[World, int] = field(default_factory=dict)
    """Every world, with the fewest faults that lead to it."""
    came_from: dict[World, tuple[World, str]] = field(default_factory=dict)
    followers: dict[World, list[World]] = field(default_factory=dict)
    """What may come of a world without a further fault."""
    broken: World | None = None
    """The first world that must not be."""

    def way_to(self, world: World) -> list[str]:
        """What happened, from the start on."""
        way: list[str] = []
        while world in self.came_from:
            world, what = self.came_from[world]
            way.append(what)
        return way[::-1]

    @property
    def counterexample(self) -> list[str]:
        """The shortest way found to what must not be."""
        return [*self.way_to(self.broken), self.broken.mirror.wrong] if self.broken else []


def stuck(found: Found) -> list[World]:
    """Worlds from which, without a further fault, nothing leads to one that is served or asks a person."""
    leads_to: dict[World, list[World]] = {}
    for world, following in found.followers.items():
        for after in following:
            leads_to.setdefault(after, []).append(world)
    well = [world for world in found.faults if is_served(world) or is_person_asked(world)]
    seen = set(well)
    while well:
        for before in leads_to.get(well.pop(), ()):
            if before not in seen:
                seen.add(before)
                well.append(before)
    return [world for world in found.faults if world not in seen]


def is_served(world: World) -> bool:
    """Whether a node serves, and its kernel lets it; its monitor may be dead."""
    return any(
        node.power == ON and node.state.is_active and side.is_primary and not side.is_frozen
        for node, side in zip(world.nodes, world.mirror.sides, strict=True)
    )


def is_person_asked(world: World) -> bool:
    """Whether a node waits for a person."""
    return any(node.power == ON and node.monitor == RUNS and node.state is GroupState.MANUAL for node in world.nodes)


@contextmanager
def without_collection() -> Iterator[None]:
    """Worlds refer to no world, and looking for rings among so many takes longer than all else."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@without_collection()
def search(model: Model, faults: int, *, only: tuple[str, ...] = (), start: World | None = None) -> Found:
    """Look at every world with up to so many faults, fewest faults first; end at the first that must not be.

    `only`: of the faults, those whose names begin so; all if empty. `start`: from here; in sync if None.
    """
    start = start or model.start()
    found = Found({start: 0})
    layer = [start]
    for used in range(faults + 1):
        failing: list[World] = []
        at = 0
        while at < len(layer):
            world = layer[at]
            at += 1
            following: list[World] = []
            for what, after in model.follow(world):
                following.append(after)
                if after not in found.faults:
                    found.faults[after] = used
                    found.came_from[after] = (world, what)
                    layer.append(after)
                    if after.mirror.wrong:
                        found.broken = after
                        return found
            found.followers[world] = following
            if used < faults:
                for what, after in model.fail(world):
                    if after not in found.faults and (not only or what.startswith(only)):
                        found.faults[after] = used + 1
                        found.came_from[after] = (world, what)
                        failing.append(after)
                        if after.mirror.wrong:
                            found.broken = after
                            return found
        layer = failing
    return found
