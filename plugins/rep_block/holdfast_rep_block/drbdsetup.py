"""The one place where drbdsetup is run and where its complaints become our errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from holdfast.errors import (
    BusyError,
    ConflictError,
    HoldfastError,
    NotFoundError,
    Reason,
    RefusedError,
    SystemCommandError,
)
from holdfast.system.command import Commands, RunningCommand
from holdfast_rep_block import configuration
from holdfast_rep_block.events import Picture
from holdfast_rep_block.looks import ALL, Looks

# A command may wait in the kernel: for the fence handler (a few seconds, see fence_helper.py), for a ping.
COMMAND_S = 20.0

HELD_OPEN = -12
LOWER_THAN_OUTDATED = -16
TRANSIENT = (-18, -19)
UNKNOWN_MINOR = 127
UNKNOWN_CONNECTION = 162
UNCLEAN_METADATA = 165

_COMPLAINT = re.compile(r"(?:State change failed|Failure): \((-?\d+)\)\s*(.*)")

# drbd_strings.c and drbdsetup.c; what a person can do about each.
_REMEDIES: Mapping[int, str] = {
    -1: "demote the other node first, or switch over",
    -2: "connect to the node that has the up-to-date data, and promote there if it is lost for good",
    -4: "attach the local disk",
    -5: "attach the disk of the other node",
    -7: "make sure that the other node is out: it must be outdated, fenced or known to be silent",
    -8: "wait until the resync or verification under way ends",
    -10: "look at the other node: it refused",
    -11: "attach the local disk",
    -15: "connect the mirror first",
    104: "check that the volume exists and is active",
    105: "check that the metadata volume exists and is active",
    111: "make the volume at least as large as before",
    112: "make the metadata volume larger",
    114: "find what holds the volume open",
    115: "find what holds the metadata volume open",
    119: "create the metadata first",
    161: "choose another minor number",
}


class KernelRefusedError(RefusedError):
    """The kernel said no; `number` is DRBD's own, negative for a forbidden state."""

    def __init__(self, number: int, text: str) -> None:
        remedy = _REMEDIES.get(number, "read the kernel's log of the mirror")
        super().__init__(f"DRBD refuses: {text} ({number})", reasons=[Reason(f"drbd-{number}", text, remedy)])
        self.number = number


def translate(error: SystemCommandError) -> HoldfastError:
    """The error of our tree for a failed drbdsetup; the error itself if its text is unknown."""
    found = _COMPLAINT.search(error.stderr_tail)
    if found is None:
        # Two drbdsetup never work on one minor at once; the second one waits a second and gives up.
        if "currently held by pid" in error.stderr_tail:
            return BusyError("another change of this mirror is under way in the kernel")
        return error
    return refusal(int(found[1]), found[2].strip())


def refusal(number: int, text: str) -> HoldfastError:
    """The error of our tree for one of DRBD's numbers."""
    if number == HELD_OPEN:
        return BusyError(
            "the mirrored device is held open",
            reasons=[Reason("held-open", text, "stop what uses it: targets, mounts, device mapper tables")],
        )
    if number == UNKNOWN_MINOR:
        return NotFoundError("the mirror is not up on this node")
    return KernelRefusedError(number, text)


class Drbdsetup:
    """Runs drbdsetup. Every call raises RefusedError, BusyError or NotFoundError as the kernel says."""

    def __init__(self, commands: Commands, program: str) -> None:
        self._commands = commands
        self._program = program
        self._looks = Looks(self._look)

    async def run(self, *words: str, timeout_s: float = COMMAND_S) -> str:
        """Run one subcommand and return what it printed."""
        try:
            done = await self._commands.run([self._program, *words], timeout_s=timeout_s)
        except SystemCommandError as reason:
            translated = translate(reason)
            if translated is reason:
                raise
            raise translated from reason
        return done.stdout

    async def picture(self, name: str = ALL) -> Picture:
        """Read the state of one resource, or of all, as it is at some moment from now on."""
        return await self._looks.picture(name)

    async def _look(self, name: str) -> Picture:
        words = [] if name == ALL else [name]
        text = await self.run("events2", *words, "--now", "--statistics")
        return Picture(text.splitlines())

    async def configuration(self, name: str) -> configuration.Configuration:
        """Read what the kernel was told about a resource that is up."""
        return configuration.parse(await self.run("show", name))

    async def generations(self, minor: int) -> str:
        """The generations of an attached volume as they are printed: see `lineage.py`."""
        return (await self.run("get-gi", str(minor))).strip()

    async def generation(self, minor: int) -> str:
        """The current data generation of an attached volume, in hexadecimal."""
        return (await self.generations(minor)).partition(":")[0]

    def stream(self) -> AbstractAsyncContextManager[RunningCommand]:
        """The resident stream of all changes, with what exists first."""
        return self._commands.start([self._program, "events2", "--statistics"])


def refuse(name: str, reasons: list[Reason], what: str) -> None:
    """Raise ConflictError with the reasons, if there are any."""
    if reasons:
        raise ConflictError(f"mirror {name}: {what}: " + "; ".join(r.text for r in reasons), reasons=reasons)
