"""What is, beside what is wanted: both trees of a target at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.hooks.target import TargetSpec, TargetState
from holdfast.system.kernelfs import KernelFs
from holdfast_iscsi_lio.actual import read_backstores, read_tree
from holdfast_iscsi_lio.plan import plan, stores_to_make_afresh
from holdfast_iscsi_lio.reservations import ReservationFiles
from holdfast_iscsi_lio.tree import Level, Link, Tree, find_homes, serves, store_paths
from holdfast_iscsi_lio.wanted import wanted_tree, without_what_comes_by_itself


@dataclass(frozen=True)
class Looked:
    """A target as it was found, and what it is to be."""

    actual: Tree
    wanted: Tree
    homes: Mapping[str, str]
    level: Level


class Reader:
    """Reads whole targets. Every method may raise OSError, for another process may be at work (see `steadily`)."""

    def __init__(self, kernel: KernelFs, files: ReservationFiles) -> None:
        self._kernel = kernel
        self._files = files

    def tree(self, name: str | None, iqn: str) -> Tree:
        """All that belongs to a target."""
        return read_tree(self._kernel, iqn, name, read_backstores(self._kernel))

    def look(self, spec: TargetSpec, level: Level | None) -> Looked:
        """Both trees; without a `level` a target that serves goes on serving. Raises ConflictError as `find_homes`."""
        stores = read_backstores(self._kernel)
        actual = read_tree(self._kernel, spec.iqn, spec.name, stores)
        if level is None:
            level = Level.ACTIVE if serves(spec.iqn, actual) else Level.STAGED
        homes = find_homes(spec, stores)
        wanted = wanted_tree(spec, homes, level)
        if level is Level.ACTIVE:
            wanted = wanted_tree(spec, homes, level, to_load(self._files, spec, homes, actual, wanted))
        return Looked(actual, without_what_comes_by_itself(wanted, actual), homes, level)

    def state(self, spec: TargetSpec) -> TargetState:
        """How much of it there is."""
        stores = read_backstores(self._kernel)
        if not (actual := read_tree(self._kernel, spec.iqn, spec.name, stores)):
            return TargetState.ABSENT
        homes = find_homes(spec, stores)
        for level, state in ((Level.ACTIVE, TargetState.ACTIVE), (Level.STAGED, TargetState.STAGED)):
            if not plan(actual, without_what_comes_by_itself(wanted_tree(spec, homes, level), actual)):
                return state
        return TargetState.PARTIAL


def to_load(
    files: ReservationFiles, spec: TargetSpec, homes: Mapping[str, str], actual: Tree, wanted: Tree
) -> dict[str, tuple[str, ...]]:
    """The registrations of each unit that begins to be served, or begins again, by the unit's name."""
    paths = store_paths(spec, homes)
    linked = {item.target for item in actual if isinstance(item, Link)}
    begins = (set(paths.values()) - linked) | stores_to_make_afresh(actual, wanted)
    kept = files.serials()
    return {
        unit.name: files.to_load(unit.serial)
        for unit in spec.units
        if paths[unit.name] in begins and unit.serial in kept
    }
