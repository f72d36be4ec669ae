"""Takes targets to what they are to be, and remembers of each what need not be read again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from holdfast.hooks.target import TargetSpec
from holdfast.system.kernelfs import KernelFs
from holdfast_iscsi_lio.apply import converge
from holdfast_iscsi_lio.reading import Looked, Reader
from holdfast_iscsi_lio.reservations import ReservationFiles
from holdfast_iscsi_lio.seen import Seen
from holdfast_iscsi_lio.tree import Level, Tree
from holdfast_iscsi_lio.wanted import out_of_service


class Converger:
    """Each method returns the number of steps taken, and blocks as long as the kernel does.

    One method at a time may be at a target. They raise what `apply.converge` does.
    """

    def __init__(self, kernel: KernelFs, files: ReservationFiles, reader: Reader) -> None:
        self._kernel = kernel
        self._files = files
        self._reader = reader
        self._seen: dict[str, Seen] = {}

    def converge(self, spec: TargetSpec, level: Level | None) -> int:
        """Without a `level` a target that serves goes on serving."""
        taken = self._go_on(spec.iqn, spec, level)
        if taken is not None:
            return taken
        found: list[Looked] = []

        def look() -> tuple[Tree, Tree]:
            found[:] = [self._reader.look(spec, level)]
            return found[0].actual, found[0].wanted

        try:
            watch = self._kernel.watch()
        except OSError:
            # The kernel gives no more of them; the target is read each time, then.
            return converge(self._kernel, look)
        taken = converge(self._kernel, look, watch)
        if watch.is_whole:
            self._seen[spec.iqn] = Seen(spec, found[0].homes, found[0].level, watch)
        return taken

    def let_go(self, name: str, iqn: str) -> int:
        """Take a target out of service; what is left of it is as it was staged."""

        def look() -> tuple[Tree, Tree]:
            actual = self._reader.tree(name, iqn)
            return actual, out_of_service(actual)

        taken = self._go_on(iqn, None, Level.STAGED)
        return converge(self._kernel, look) if taken is None else taken

    def remove(self, iqn: str, look: Callable[[], tuple[Tree, Tree]]) -> int:
        """Remove a target, which `look` reads; the other tree that it returns is empty."""
        if (seen := self._seen.pop(iqn, None)) is not None:
            seen.close()
        return converge(self._kernel, look)

    def _go_on(self, iqn: str, spec: TargetSpec | None, level: Level | None) -> int | None:
        """The same without reading, as far as the target is known; None if it must be read."""
        if (seen := self._seen.pop(iqn, None)) is None:
            return None
        with contextlib.suppress(OSError):
            taken = seen.go_on(self._kernel, self._files, spec or seen.spec, level or seen.level)
            if taken is not None:
                self._seen[iqn] = seen
                return taken
        seen.close()
        return None
