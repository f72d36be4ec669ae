from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import holdfast_cli.nouns
from holdfast_cli.main import NOUNS, cli, main

CLI = Path(__file__).parents[1]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python apart from this process."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(CLI), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, holdfast_cli.main\n"
        "holdfast_cli.main.main(['--help'])\n"
        "print('LOADED', *sorted({'ssl', 'http.client', 'json', 'asyncio', 'aiohttp', 'holdfast'} & set(sys.modules)))"
    )

    assert run("-c", code).stdout.splitlines()[-1] == "LOADED"


def test_the_exit_code_is_that_of_the_process() -> None:
    done = run("-m", "holdfast_cli.main", "--token-file", "/nonexistent", "node", "show")

    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith("holdfast: the API token cannot be read")


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m holdfast_cli.main --help | true"],
        env={**os.environ, "PYTHONPATH": str(CLI)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert "Traceback" not in done.stderr


def test_every_noun_has_a_file_and_every_file_a_noun() -> None:
    files = {file.stem.replace("_", "-") for file in Path(holdfast_cli.nouns.__file__).parent.glob("[!_]*.py")}

    assert files == set(NOUNS)


def test_every_verb_has_help_and_takes_json() -> None:
    context = click.Context(cli)
    for noun in NOUNS:
        group = cli.get_command(context, noun)
        verbs = group.commands.values() if isinstance(group, click.Group) else [group]
        for verb in verbs:
            assert verb is not None
            assert verb.help, f"{noun} {verb.name}"
            assert any("--json" in option.opts for option in verb.params), f"{noun} {verb.name}"


@pytest.mark.parametrize("arguments", [("volume", "nonsense"), ("nonsense",), ("volume", "create"), ("--nonsense",)])
def test_what_is_not_a_command_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert main(arguments) == 2


@pytest.mark.parametrize("shell", ["zsh", "fish", "bash"])
def test_completion_of_a_shell_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0

    assert "_HOLDFAST_COMPLETE" in capsys.readouterr().out


def test_completion_knows_nouns_and_verbs() -> None:
    done = run(
        "-c",
        "from holdfast_cli.main import main; main()",
        _HOLDFAST_COMPLETE="bash_complete",
        COMP_WORDS="holdfast volume cr",
        COMP_CWORD="2",
    )

    assert done.stdout == "plain,create\n"
