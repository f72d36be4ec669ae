"""The house rules that no linter knows, as functions from a module's text to what is wrong with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]

LONGEST_LINES = 300
_VAGUE = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}
_VAGUE_CLASS = re.compile(r"(Manager|Helper|Helpers|Util|Utils)\Z")
_STARTERS = {"system", "popen", "startfile", "fork", "forkpty", "posix_spawn", "posix_spawnp"}
_ASYNC_STARTERS = {"create_subprocess_exec", "create_subprocess_shell", "subprocess_exec", "subprocess_shell"}


@dataclass(frozen=True)
class Module:
    """A Python file, by its path from the root of the checkout."""

    path: str
    text: str

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All of its syntax tree."""
        return tuple(ast.walk(ast.parse(self.text, self.path)))


def product() -> Iterator[Module]:
    """Every module that is installed on an appliance."""
    for folder in sorted([ROOT / "core/holdfast", ROOT / "cli/holdfast_cli", *ROOT.glob("plugins/*/holdfast_*")]):
        yield from _below(folder)


def bench() -> Iterator[Module]:
    """Every module that is not a test and serves development only."""
    for folder in (ROOT / "lab", ROOT / "demo", ROOT / "soak"):
        yield from (module for module in _below(folder) if "/tests/" not in module.path)


def _below(folder: Path) -> Iterator[Module]:
    for file in sorted(folder.rglob("*.py")):
        yield Module(file.relative_to(ROOT).as_posix(), file.read_text())


def length(module: Module) -> Iterator[str]:
    """A module is read in one sitting."""
    lines = module.text.count("\n")
    if lines > LONGEST_LINES:
        yield f"{lines} lines"


def vague_names(module: Module) -> Iterator[str]:
    """A name says what is in it."""
    path = PurePosixPath(module.path)
    yield from (f"the name {part}" for part in (*path.parts[:-1], path.stem) if part in _VAGUE)
    for node in module.nodes:
        if isinstance(node, ast.ClassDef) and _VAGUE_CLASS.search(node.name):
            yield f"the class {node.name}"


def process_starts(module: Module) -> Iterator[str]:
    """Commands are run in one way: `host.commands`."""
    for node in module.nodes:
        if isinstance(node, ast.Import) and any(alias.name.partition(".")[0] == "subprocess" for alias in node.names):
            yield "imports subprocess"
        elif isinstance(node, ast.ImportFrom) and node.module == "subprocess":
            yield "imports from subprocess"
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "asyncio", "pty"):
            yield from (f"imports {alias.name}" for alias in node.names if _starts_process(node.module, alias.name))
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in _ASYNC_STARTERS or _starts_process(owner, node.attr):
                yield f"uses {owner}.{node.attr}"
        elif isinstance(node, ast.keyword) and node.arg == "shell":
            yield "passes shell="


def _starts_process(module: str, name: str) -> bool:
    if module == "os":
        return name in _STARTERS or re.match(r"(exec|spawn)[lv]p?e?\Z", name) is not None
    return (module == "asyncio" and name in _ASYNC_STARTERS) or (module == "pty" and name == "spawn")


def revealed_secrets(module: Module) -> Iterator[str]:
    """A secret is told at the point of use only."""
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr == "reveal":
            yield "calls reveal()"
        elif isinstance(node, ast.keyword) and node.arg == "reveal" and _constant(node.value) is not False:
            yield "passes reveal="


def error_statuses(module: Module) -> Iterator[str]:
    """Which error is which HTTP status is said in one table."""
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and re.match(r"HTTP[A-Z][a-z]", node.attr):
            yield f"uses {node.attr}"
        elif isinstance(node, ast.keyword) and node.arg == "status":
            status = _constant(node.value)
            if isinstance(status, int) and status >= 400:
                yield f"answers {status}"


def _constant(node: ast.expr) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def unfinished(module: Module) -> Iterator[str]:
    """What is there is done."""
    for match in re.finditer(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", module.text):
        yield f"says {match[0]}"
