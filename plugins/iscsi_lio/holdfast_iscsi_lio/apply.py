"""Carries a plan out, and looks again until nothing differs."""

from __future__ import annotations

import errno
import itertools
import logging
import re
from collections.abc import Callable, Iterable

from holdfast.errors import VerificationError
from holdfast.system.kernelfs import KernelFs
from holdfast.system.watching import Watch
from holdfast.values import Secret
from holdfast_iscsi_lio.actual import file_of, steadily
from holdfast_iscsi_lio.faults import KernelRefusal, translated
from holdfast_iscsi_lio.plan import MakeDirectory, MakeLink, RemoveDirectory, RemoveLink, Step, Write, plan
from holdfast_iscsi_lio.threads import side_by_side
from holdfast_iscsi_lio.tree import FILEIO, LIVE, Tree, directories, kind_of, size_in

log = logging.getLogger(__name__)

ROUNDS = 4
"""Of look and act. The second finds what another process changed meanwhile; more only serve a racing one."""

_HBA = re.compile(r".*/core/(iblock|fileio)_\d+")
_OPENS_DEVICE = re.compile(r".*/core/(iblock|fileio)_\d+/[^/]+/enable")


def converge(kernel: KernelFs, look: Callable[[], tuple[Tree, Tree]], watch: Watch | None = None) -> int:
    """Make what is what is wanted; `look` returns both. Returns the number of steps taken.

    The last look was at a tree that `watch`, if there is one, covers: what has changed since then, it will tell.
    Blocks as long as the kernel does. Raises the error of a step that fails twice, or
    VerificationError when the kernel does not keep what it accepted.
    """
    failed: Step | None = None
    taken = 0
    covered: set[str] = set()
    for _ in range(ROUNDS):
        if watch is not None:
            watch.changes()
        actual, wanted = steadily(look)
        steps = plan(actual, wanted)
        places = directories(wanted) if watch is not None else covered
        if not steps and places <= covered:
            return taken
        try:
            taken += carry_out(kernel, steps)
        except KernelRefusal as refusal:
            # Someone else may have done it at the same moment: the next look tells.
            if refusal.step == failed:
                raise translated(refusal) from refusal.reason
            failed = refusal.step
        if watch is not None:
            watch.cover(places)
            covered = places
    remaining = plan(*steadily(look))
    if remaining:
        raise VerificationError(f"the kernel does not keep what was written: {remaining[0]} is still to be done")
    return taken


def carry_out(kernel: KernelFs, steps: Iterable[Step]) -> int:
    """Take all steps in order; returns how many. Raises KernelRefusal at the first that fails."""
    taken = 0
    for is_opening, group in itertools.groupby(steps, key=_opens_device):
        batch = list(group)
        if is_opening and len(batch) > 1:
            # Each has an HBA of its own, so the kernel opens them side by side.
            side_by_side([lambda step=step: act(kernel, step) for step in batch])  # type: ignore[misc]
        else:
            for step in batch:
                act(kernel, step)
        taken += len(batch)
    return taken


def _opens_device(step: Step) -> bool:
    return isinstance(step, Write) and _OPENS_DEVICE.fullmatch(step.path) is not None


def act(kernel: KernelFs, step: Step) -> None:
    """Take one step. Raises KernelRefusal."""
    log.debug("%s", step)
    try:
        match step:
            case MakeDirectory(path):
                kernel.make_directory(path)
            case RemoveDirectory(path):
                _remove_directory(kernel, path)
            case MakeLink(path, target):
                kernel.link(path, target)
            case RemoveLink(path):
                kernel.unlink(path)
            case Write(path, value):
                _refuse_deadly(kernel, path)
                _refuse_absent_file(kernel, path)
                text = value.reveal() if isinstance(value, Secret) else value
                _refuse_small_file(kernel, path, text)
                kernel.write(path, text)
    except OSError as reason:
        raise KernelRefusal(step, reason) from reason


def _refuse_deadly(kernel: KernelFs, path: str) -> None:
    # Linux 6.1 dereferences the device of a backstore that has none open (target_core_iblock.c,
    # iblock_configure_unmap), and the node is gone. Our order opens it first; another process may have made it afresh.
    if path.endswith(LIVE) and kernel.read(f"{path.rsplit('/', 2)[0]}/enable") != "1":
        raise OSError(errno.EAGAIN, "the backstore is not open")


def _refuse_absent_file(kernel: KernelFs, path: str) -> None:
    # The kernel would make the file (target_core_file.c, fd_configure_device: O_CREAT), as on a directory where nothing
    # is mounted, and serve emptiness in the place of the data.
    if _OPENS_DEVICE.fullmatch(path) and kind_of(path) == FILEIO:
        if (found := file_of(kernel.read(f"{path.rpartition('/')[0]}/info"))) is None:
            raise OSError(errno.EINVAL, "the backstore has no file")
        _refuse_smaller(kernel, found.path, found.size_bytes)


def _refuse_small_file(kernel: KernelFs, path: str, text: str) -> None:
    # Of an open backstore the size counts from the moment it is written.
    if path.endswith("/control") and (size_bytes := size_in(text)) is not None:
        store = path.rpartition("/")[0]
        if kernel.read(f"{store}/enable") == "1" and (found := file_of(kernel.read(f"{store}/info"))) is not None:
            _refuse_smaller(kernel, found.path, size_bytes)


def _refuse_smaller(kernel: KernelFs, path: str, size_bytes: int) -> None:
    # One that is larger is about to be served larger: a growth makes the file first, and the unit afterwards.
    if kernel.size_bytes(path) < size_bytes:
        raise OSError(errno.EFBIG, "the file is smaller than the unit")


def _remove_directory(kernel: KernelFs, path: str) -> None:
    try:
        kernel.remove_directory(path)
    except OSError as reason:
        # Somebody else put a backstore of theirs into our HBA: it stays, with them.
        if not (_HBA.fullmatch(path) and reason.errno == errno.ENOTEMPTY):
            raise
