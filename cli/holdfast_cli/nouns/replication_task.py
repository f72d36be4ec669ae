"""`holdfast replication-task`: asynchronous copies of shares."""

from __future__ import annotations

import click

from holdfast_cli.jobs import Change
from holdfast_cli.options import changing, given, password_option, read_secret
from holdfast_cli.session import url_path
from holdfast_cli.verbs import add_action, add_delete, add_list, add_show


@click.group("replication-task")
def replication_task() -> None:
    """Tasks: asynchronous copies of a share to a replica share."""


add_list(
    replication_task,
    "replication-tasks",
    ("name", "share", "agent_address", "agent_port", "replica_share", "user"),
)
add_show(replication_task, "replication-tasks")
add_delete(replication_task, "replication-tasks")
add_action(replication_task, "replication-tasks", "run", "Copy now: from a snapshot, only what changed.")


@replication_task.command()
@click.argument("name")
@click.option("--share", required=True, help="The share that is copied.")
@click.option("--agent", "agent_address", required=True, metavar="ADDRESS", help="The destination.")
@click.option("--agent-port", type=click.IntRange(1, 65535), help="The port of its agent.")
@click.option("--replica-share", "replica", required=True, help="As `holdfast agent browse` lists it.")
@click.option("--user", required=True, help="The ID of the replica share.")
@password_option()
@changing
def create(
    change: Change,
    name: str,
    share: str,
    agent_address: str,
    agent_port: int | None,
    replica: str,
    user: str,
    password_file: str,
) -> None:
    """Make a task; it copies when it is run."""
    body = given(
        name=name,
        share=share,
        agent_address=agent_address,
        agent_port=agent_port,
        replica_share=replica,
        user=user,
        password=read_secret(password_file),
    )
    change.send("POST", url_path("replication-tasks"), body)
