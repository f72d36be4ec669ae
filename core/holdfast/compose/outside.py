"""What a process of ours reaches the machine with; the daemon and the monitor give their plugins the same."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.config import Config
from holdfast.hooks.base import Host
from holdfast.loading.judging import MakeHost
from holdfast.system.clock import Clock, SystemClock
from holdfast.system.command import Commands, SystemCommands
from holdfast.system.kernelfs import KernelFs


@dataclass(frozen=True)
class Outside:
    """The doors to the machine; tests give others."""

    commands: Commands
    kernel: KernelFs
    clock: Clock


def real_outside(*, niceness: int | None = None) -> Outside:
    """This machine. `niceness` is that of the commands; None: that of this process."""
    return Outside(SystemCommands(niceness=niceness), KernelFs(), SystemClock())


def host_maker(config: Config, outside: Outside) -> MakeHost:
    """Give each plugin its Host, with directories of its own. The monitor gives the same ones."""

    def make(name: str) -> Host:
        directories = []
        for root in (config.state_dir, config.run_dir):
            directory = root / "plugins" / name
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directories.append(directory)
        state, run = directories
        return Host(config.node, outside.commands, outside.kernel, outside.clock, state, run)

    return make
