"""`holdfast NOUN VERB`: the way in, and the way out with the right exit code.

Nothing is imported here that the help text does not need: a shell asks for completions at each press of a key.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast_cli.errors import CommandError, Exit, ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

_STATE = "/var/lib/holdfast"

# In the order of the main job; the file in nouns/ has the noun's name.
NOUNS = (
    "node",
    "pairing",
    "plugin",
    "disk",
    "pool",
    "volume",
    "snapshot",
    "snapshot-schedule",
    "share",
    "share-user",
    "share-group",
    "agent",
    "replica-share",
    "restore-opening",
    "replication-task",
    "replication-run",
    "mirror",
    "target",
    "initiator-group",
    "discovery-auth",
    "failover",
    "group",
    "decision",
    "job",
    "events",
)


class _Nouns(click.Group):
    """Imports a noun's file when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*NOUNS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in NOUNS:
            return super().get_command(ctx, cmd_name)
        name = cmd_name.replace("-", "_")
        found = getattr(importlib.import_module(f"holdfast_cli.nouns.{name}"), name)
        assert isinstance(found, click.Command)
        return found


@click.group(
    cls=_Nouns,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failure, 2 usage, 3 not found, 4 conflict, 5 denied, 6 job failed, "
    "20 unreachable, 21 timeout, 130 interrupted.",
)
@click.option(
    "--url", envvar="HOLDFAST_URL", default="https://127.0.0.1:8443", show_default=True, help="The API of the node."
)
@click.option(
    "--certificate",
    envvar="HOLDFAST_CERTIFICATE",
    type=click.Path(path_type=Path),
    default=f"{_STATE}/tls/certificate.pem",
    show_default=True,
    help="The node's certificate: nothing else may answer.",
)
@click.option(
    "--token-file",
    envvar="HOLDFAST_TOKEN_FILE",
    type=click.Path(path_type=Path),
    default=f"{_STATE}/token",
    show_default=True,
    help="File with the API token.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what the API answers, as JSON.")
@click.pass_context
def cli(context: click.Context, /, url: str, certificate: Path, token_file: Path, as_json: bool) -> None:
    """Manage a Holdfast node and its partner.

    NOUN is one of those below; `holdfast NOUN --help` lists its verbs. Changes are waited for, and
    Ctrl-C leaves them running; sizes are binary, such as 10GiB.
    """
    from holdfast_cli.session import Endpoint, Session

    context.obj = session = Session(Endpoint(url, certificate, token_file), as_json)
    context.call_on_close(session.close)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion for a shell: eval "$(holdfast completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "holdfast", "_HOLDFAST_COMPLETE").source())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    try:
        # With click's own ending switched off, `--help` and the like return their code.
        ended = cli.main(args=arguments, prog_name="holdfast", complete_var="_HOLDFAST_COMPLETE", standalone_mode=False)
    except click.ClickException as raised:
        raised.show()
        return raised.exit_code
    except (click.Abort, KeyboardInterrupt):
        _complain(["interrupted; a change that had begun goes on: see `holdfast job list`"])
        return Exit.INTERRUPTED
    except CommandError as raised:
        _complain([raised.message, *([f"  remedy: {raised.remedy}"] if raised.remedy else [])])
        return raised.code
    except ProblemError as raised:
        from holdfast_cli.render import problem

        _complain([*([raised.intro] if raised.intro else []), *problem(raised.problem)])
        return raised.code
    return ended if isinstance(ended, int) else Exit.OK


def _complain(lines: Sequence[str]) -> None:
    first, *rest = lines
    is_plain = "NO_COLOR" in os.environ or not sys.stderr.isatty()
    label = "holdfast:" if is_plain else click.style("holdfast:", fg="red")
    click.echo("\n".join([f"{label} {first}", *rest]), err=True)


if __name__ == "__main__":
    sys.exit(main())
