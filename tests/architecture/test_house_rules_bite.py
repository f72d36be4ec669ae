"""Each house rule finds what it forbids, and lets pass what only looks like it."""

from __future__ import annotations

import pytest

from tests.architecture import rules
from tests.architecture.rules import Module
from tests.architecture.test_house_rules import Rule, broken

PATH = "core/holdfast/services/volumes/volumes.py"


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rules.length, "x = 1\n" * 301),
        (rules.vague_names, "class PoolManager: ..."),
        (rules.process_starts, "import subprocess"),
        (rules.process_starts, "from subprocess import run"),
        (rules.process_starts, "import os\nos.system('true')"),
        (rules.process_starts, "from os import execvp"),
        (rules.process_starts, "import asyncio\nasyncio.create_subprocess_exec('true')"),
        (rules.process_starts, "from asyncio import create_subprocess_shell"),
        (rules.process_starts, "run('true', shell=True)"),
        (rules.revealed_secrets, "log.info(password.reveal())"),
        (rules.revealed_secrets, "to_plain(password, reveal=True)"),
        (rules.error_statuses, "raise web.HTTPNotFound()"),
        (rules.error_statuses, "web.json_response({}, status=404)"),
        (rules.unfinished, "# TODO later"),
        (rules.unfinished, "raise NotImplementedError"),
    ],
)
def test_a_planted_fault_is_found(rule: Rule, text: str) -> None:
    assert broken([Module(PATH, text)], rule, {}) != []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rules.length, "x = 1\n" * 300),
        (rules.vague_names, "from contextlib import contextmanager\nclass Managed: ..."),
        (rules.process_starts, "import os\nos.environ['system']\nsystem = 1"),
        (rules.revealed_secrets, "to_plain(password, reveal=False)"),
        (rules.error_statuses, "web.json_response({}, status=202)"),
        (rules.unfinished, "todo = 1"),
    ],
)
def test_what_only_looks_like_a_fault_passes(rule: Rule, text: str) -> None:
    assert broken([Module(PATH, text)], rule, {}) == []


@pytest.mark.parametrize("path", ["core/holdfast/utils.py", "plugins/x/holdfast_x/common/size.py"])
def test_a_vague_file_name_is_found(path: str) -> None:
    assert broken([Module(path, "")], rules.vague_names, {}) != []


def test_an_exception_passes_and_one_that_is_not_needed_is_found() -> None:
    module = Module(PATH, "import subprocess")

    assert broken([module], rules.process_starts, {PATH: "because"}) == []
    assert broken([Module(PATH, "")], rules.process_starts, {PATH: "because"}) == [f"{PATH}: needs no exception"]


def test_the_walk_over_the_tree_sees_modules() -> None:
    seen = {module.path for module in rules.product()}

    assert {"core/holdfast/system/command.py", "cli/holdfast_cli/main.py"} <= seen
