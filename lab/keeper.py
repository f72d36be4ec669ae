"""The process that keeps a lab: holds the machine-wide lock, and clears up at the end.

Whoever starts a lab holds the other end of a pipe. If that end closes without the word STAY, the
starter has died, by Ctrl-C or worse, and the keeper takes the lab down. After STAY (`lab up`) the
lab stays until somebody asks the keeper to end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from lab import disks, network
from lab.errors import LabError
from lab.layout import CHECKOUT, Layout
from lab.processes import Process, wait_until

# The lab's figures are only worth something while one lab at a time has the machine.
LOCK = Path("/run/lock/holdfast-lab.lock")
STAY = b"S"


def acquire_lock(say: Callable[[str], None], timeout_s: float | None = None) -> int:
    """Wait for the machine-wide lock, saying so once; return the handle that holds it.

    Raises LabError after `timeout_s`, None for no limit.
    """
    handle = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    started = time.monotonic()
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(handle, 4096, 0).decode(errors="replace").strip()
            if timeout_s is not None and time.monotonic() - started > timeout_s:
                os.close(handle)
                raise LabError(f"another lab has this machine ({owner}); take it down") from None
            if not told:
                say(f"waiting until the other lab on this machine is down ({owner}) ...")
                told = True
            time.sleep(0.2)
        except BaseException:
            os.close(handle)
            raise
        else:
            return handle


def sign_lock(handle: int, owner: str) -> None:
    """Tell those who wait for the lock who has it."""
    os.ftruncate(handle, 0)
    os.pwrite(handle, owner.encode(), 0)


def spawn(layout: Layout, lock: int | None) -> int:
    """Start the keeper of a lab, handing it the lock; return the end of the pipe to hold."""
    if lock is not None:
        sign_lock(lock, str(layout.root))
    reader, writer = os.pipe()
    inherited = [reader] if lock is None else [reader, lock]
    try:
        with (layout.root / "keeper.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "lab.keeper", str(layout.root), str(reader)],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=inherited,
                start_new_session=True,
            )
        Process.of(child.pid).save(layout.keeper_record)
        child.returncode = 0  # as in machine.start
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    return writer


def dismiss(layout: Layout, timeout_s: float = 60.0) -> None:
    """Have the lab taken down, by its keeper if it lives, else here; return when it is."""
    keeper = Process.load(layout.keeper_record)
    if keeper and keeper.is_alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(keeper.pid, signal.SIGTERM)
        wait_until(lambda: not keeper.is_alive, timeout_s)
    if keeper:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(keeper.pid, os.WNOHANG)
    take_down(layout)


def take_down(layout: Layout) -> None:
    """End every process and namespace of the lab. Repeating it does nothing."""
    records = sorted(layout.root.glob("nodes/*/process.json"))
    for process in filter(None, map(Process.load, records)):
        process.kill()
    if layout.namespace in network.namespaces():
        _kill_strays(layout)
    prefix = layout.host_namespace("")
    hosts = [name.removeprefix(prefix) for name in network.namespaces() if name.startswith(prefix)]
    network.remove(layout, hosts)
    for record in [*records, layout.keeper_record]:
        record.unlink(missing_ok=True)


def _kill_strays(layout: Layout) -> None:
    """End what runs in the lab's own namespace unrecorded: a node between its start and its record,
    or a test's client. Nobody else has a reason to be in there."""

    def strays() -> list[int]:
        return network.process_ids(layout.namespace)

    for pid in strays():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not strays(), 5.0, every_s=0.1)


class _Dismissed(Exception):
    """Somebody asked the keeper to end."""


def _on_terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Dismissed


def _main(root: str, reader: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    layout = Layout(Path(root))
    is_to_stay = False
    try:
        signal.signal(signal.SIGTERM, _on_terminate)
        is_to_stay = os.read(reader, 1) == STAY
        if is_to_stay:
            while True:
                signal.pause()
    except _Dismissed:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    take_down(layout)
    if not is_to_stay:
        disks.forget(layout)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
