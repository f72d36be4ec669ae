"""The lab by hand: `python -m lab VERB`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from lab import disks, keeper, status, terminal
from lab.bed import Lab, is_up
from lab.errors import LabError
from lab.layout import Layout

# The lab's own failures, told apart from most codes a command in a node would end with.
REFUSED = 2


def main(argv: list[str]) -> int:
    """Run one verb; return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.verb(arguments))
    except (LabError, TimeoutError) as reason:
        print(f"lab: {reason}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141


def _up(arguments: argparse.Namespace) -> int:
    layout = Layout.at()
    if is_up(layout):
        print(f"the lab in {layout.root} is already up")
        return 0
    started = time.monotonic()
    lab = Lab.start(arguments.topology, fresh=arguments.fresh, lock=not arguments.no_lock)
    lab.detach()
    print(f"{len(lab.nodes)} nodes up in {time.monotonic() - started:.1f} s")
    return 0


def _down(_: argparse.Namespace) -> int:
    layout = Layout.at()
    told = "the lab is down" if is_up(layout) else "the lab was not up"
    keeper.dismiss(layout)
    print(told)
    return 0


def _clean(_: argparse.Namespace) -> int:
    layout = Layout.at()
    keeper.dismiss(layout)
    disks.forget(layout)
    shutil.rmtree(layout.root, ignore_errors=True)
    print(f"nothing is left of the lab in {layout.root}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    found = status.report(Layout.at())
    print(json.dumps(found, indent=2) if arguments.json else status.text(found))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    return terminal.pass_through(Lab.attach().node(arguments.node), arguments.command)


def _shell(arguments: argparse.Namespace) -> int:
    return terminal.interactive(Lab.attach().node(arguments.node), ["/bin/bash", "-i"])


def _cut(arguments: argparse.Namespace) -> int:
    Lab.attach().node(arguments.node).cut()
    return 0


def _boot(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    Lab.attach().node(arguments.node).boot()
    print(f"node {arguments.node} up in {time.monotonic() - started:.1f} s")
    return 0


def _link(arguments: argparse.Namespace) -> int:
    Lab.attach().link(arguments.node, arguments.network, up=arguments.state == "up")
    return 0


def _freeze(arguments: argparse.Namespace) -> int:
    Lab.attach().node(arguments.node).freeze()
    return 0


def _thaw(arguments: argparse.Namespace) -> int:
    Lab.attach().node(arguments.node).thaw()
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    layout = Layout.at()
    sys.stdout.write(layout.console(arguments.node).read_text(errors="replace"))
    for log in sorted((layout.host_dir(arguments.node) / "services").glob("*.log")):
        print(f"=== service {log.stem}")
        sys.stdout.write(log.read_text(errors="replace"))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description="the virtual two-node bed")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, action: Callable[[argparse.Namespace], int], text: str) -> ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(verb=action)
        return added

    up = verb("up", _up, "boot all nodes; disks keep their content")
    up.add_argument("--topology", type=Path, help="a TOML file; default: the project's own bed")
    up.add_argument("--fresh", action="store_true", help="start with empty disks")
    up.add_argument("--no-lock", action="store_true", help="do not wait for other labs here")
    verb("down", _down, "stop everything; disks stay")
    verb("clean", _clean, "remove whatever a lab left, disks included")
    verb("status", _status, "show nodes, addresses and disks").add_argument("--json", action="store_true")
    run = verb("run", _run, "run a command in a node: streams and exit code pass through")
    run.add_argument("node")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD")
    for name, action, text in (
        ("cut", _cut, "cut the power of a node"),
        ("boot", _boot, "power a node on"),
        ("freeze", _freeze, "stop a node in its tracks"),
        ("thaw", _thaw, "let a frozen node go on"),
        ("shell", _shell, "open a shell in a node"),
        ("logs", _logs, "print a node's console and the logs of its services"),
    ):
        verb(name, action, text).add_argument("node")
    link = verb("link", _link, "plug or pull the cable of a node or of the ping host")
    link.add_argument("node")
    link.add_argument("network")
    link.add_argument("state", choices=["up", "down"])
    return parser
