"""A target that was read whole and has been watched since: what is known of it is not read again.

Reading costs some eighty system calls a unit, and a takeover of hundreds of units has no time for it. Whether anybody
has changed something in the meantime is told by the kernel, whatever process it was, so nothing rests on others keeping
away: once it was somebody else, the target is read whole again, and so it is when the kernel refuses a step.
What the reconciler asks for (`TargetDriver.state`) is always read.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from holdfast.hooks.target import LogicalUnit, TargetSpec
from holdfast.system.kernelfs import KernelFs
from holdfast.system.watching import Change, How, Watch
from holdfast_iscsi_lio.actual import read_backstore, read_tree
from holdfast_iscsi_lio.apply import carry_out
from holdfast_iscsi_lio.faults import KernelRefusal
from holdfast_iscsi_lio.plan import MakeDirectory, MakeLink, RemoveDirectory, RemoveLink, Step, Write, plan
from holdfast_iscsi_lio.reading import to_load
from holdfast_iscsi_lio.reservations import ReservationFiles
from holdfast_iscsi_lio.tree import (
    CORE,
    FILEIO,
    IBLOCK,
    Level,
    Tree,
    backstore_name,
    directories,
    free_hba,
    kind_for,
    kind_of,
    parent,
)
from holdfast_iscsi_lio.wanted import wanted_tree, without_what_comes_by_itself


class Seen:
    """One target. `watch` covers all of it from before it was read."""

    def __init__(self, spec: TargetSpec, homes: Mapping[str, str], level: Level, watch: Watch) -> None:
        self.spec = spec
        self.level = level
        self._homes = dict(homes)
        self._watch = watch
        self._ready: tuple[Step, ...] | None = None
        if level is Level.STAGED:
            # So that a takeover has nothing left to find out.
            self._ready = plan(*self._trees(spec, Level.ACTIVE, {}))

    def close(self) -> None:
        """It is not known any more."""
        self._watch.close()

    def go_on(self, kernel: KernelFs, files: ReservationFiles, spec: TargetSpec, level: Level) -> int | None:
        """Take the target from what it is to what is wanted; returns the number of steps.

        None when it must be read: then it is not known any more, and some of the steps may have been taken.
        Raises OSError as a look does.
        """
        if self._watch.changes() != frozenset():
            return None
        if (spec, level) == (self.spec, self.level):
            return 0
        if level is self.level and replace(spec, units=self.spec.units) == self.spec:
            return self._change_units(kernel, files, spec)
        if spec == self.spec:
            return self._change_level(kernel, files, level)
        return None

    def _change_level(self, kernel: KernelFs, files: ReservationFiles, level: Level) -> int | None:
        steps = self._ready
        if level is Level.STAGED:
            steps = plan(*self._trees(self.spec, level, {}))
        elif steps is None or not files.serials().isdisjoint(unit.serial for unit in self.spec.units):
            actual, wanted = self._trees(self.spec, level, {})
            steps = plan(*self._trees(self.spec, level, to_load(files, self.spec, self._homes, actual, wanted)))
        # To let go of a device is to make its backstore afresh.
        afresh = directories(wanted_tree(self.spec, self._homes, level)) if level is Level.STAGED else ()
        if not self._carry_out(kernel, steps, afresh):
            return None
        self.level = level
        return len(steps)

    def _change_units(self, kernel: KernelFs, files: ReservationFiles, spec: TargetSpec) -> int | None:
        """Units come, go or change: only they are planned, and read back."""
        old, new = _differing(self.spec.units, spec.units)
        if not self._find_homes(kernel, spec, new):
            return None
        actual = wanted_tree(replace(self.spec, units=tuple(old)), self._homes, self.level)
        part = replace(spec, units=tuple(new))
        whole = wanted = wanted_tree(part, self._homes, self.level)
        if self.level is Level.ACTIVE:
            reserved = to_load(files, part, self._homes, actual, wanted)
            wanted = wanted_tree(part, self._homes, self.level, reserved)
        steps = plan(actual, without_what_comes_by_itself(wanted, actual))
        if not self._carry_out(kernel, steps, directories(whole)):
            return None
        stores = [self._homes[unit.name] + "/" + backstore_name(spec.name, unit.name) for unit in new]
        found = read_tree(
            kernel, spec.iqn, spec.name, tuple(read_backstore(kernel, store) for store in stores), _numbers(new)
        )
        if plan(found, without_what_comes_by_itself(whole, found)):
            return None
        self.spec = spec
        self._homes = {unit.name: self._homes[unit.name] for unit in spec.units}
        self._ready = None
        return len(steps)

    def _trees(self, spec: TargetSpec, level: Level, reserved: Mapping[str, tuple[str, ...]]) -> tuple[Tree, Tree]:
        actual = wanted_tree(self.spec, self._homes, self.level)
        return actual, without_what_comes_by_itself(wanted_tree(spec, self._homes, level, reserved), actual)

    def _find_homes(self, kernel: KernelFs, spec: TargetSpec, units: Sequence[LogicalUnit]) -> bool:
        """Give each unit that has none an HBA of its own.

        False if a unit is to be of another kind than before, or a backstore of its name is in another HBA already.
        """
        if any(kind_of(self._homes[unit.name]) != kind_for(unit) for unit in units if unit.name in self._homes):
            return False
        homeless = {backstore_name(spec.name, unit.name): unit for unit in units if unit.name not in self._homes}
        if not homeless:
            return True
        filled = set(self._homes.values())
        for hba in (f"{CORE}/{name}" for name in kernel.names(CORE) if kind_of(name) in (IBLOCK, FILEIO)):
            if hba not in filled and (found := set(kernel.names(hba)) - {"hba_info", "hba_mode"}):
                if found.intersection(homeless):
                    return False
                filled.add(hba)
        for name, unit in homeless.items():
            self._homes[unit.name] = free_hba(kind_for(unit), name, filled)
            filled.add(self._homes[unit.name])
        return True

    def _carry_out(self, kernel: KernelFs, steps: Sequence[Step], then_cover: Collection[str] = ()) -> bool:
        """Whether every step was taken, and nobody changed anything else at the same time."""
        try:
            carry_out(kernel, steps)
        except KernelRefusal:
            return False
        self._watch.cover(then_cover)
        changes = self._watch.changes()
        return self._watch.is_whole and changes is not None and _are_ours(changes, steps)


def _differing(
    before: Sequence[LogicalUnit], after: Sequence[LogicalUnit]
) -> tuple[list[LogicalUnit], list[LogicalUnit]]:
    """What is only in the one, and what is only in the other."""
    # What they begin with is mostly the same.
    same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
    old, new = set(before[same:]), set(after[same:])
    return [unit for unit in before[same:] if unit not in new], [unit for unit in after[same:] if unit not in old]


def _are_ours(changes: Collection[Change], steps: Sequence[Step]) -> bool:
    """Whether each of these changes comes of the steps."""
    ours = {Change(step.path, _how(step)) for step in steps}
    gone = {step.path for step in steps if isinstance(step, RemoveDirectory)}
    return all(change in ours or (change.how is How.REMOVED and _lies_in(change.path, gone)) for change in changes)


def _how(step: Step) -> How:
    match step:
        case MakeDirectory() | MakeLink():
            return How.MADE
        case RemoveDirectory() | RemoveLink():
            return How.REMOVED
        case Write():
            return How.WRITTEN


def _lies_in(path: str, directories: Collection[str]) -> bool:
    while path and path not in directories:
        path = parent(path)
    return bool(path)


def _numbers(units: Sequence[LogicalUnit]) -> frozenset[str]:
    return frozenset(f"lun_{unit.lun}" for unit in units)
