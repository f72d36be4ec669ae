"""What the composed tests of restoring share: a source a, and its partner b with the copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.composed.appliance import Appliance
from tests.composed.tasks import MIB

TASK, REPLICA = "/v1/replication-tasks/task", "/v1/replica-shares/replica"
PORTS = {"a": 8873, "b": 8874}
LOGIN = {"user": "copier", "password": "secret enough"}


def home(node: Appliance, share: str = "docs") -> Path:
    """Where a node has a share."""
    return node.config.mount_dir / "main" / share / "x"


async def make_volume(node: Appliance, name: str) -> None:
    """A NAS volume with a share of its name."""
    await node.change("POST", "/v1/volumes", {"pool": "main", "name": name, "size_bytes": 64 * MIB, "kind": "nas"})
    await node.change("POST", "/v1/shares", {"name": name, "volume": name, "path": "x"})


async def make_copy(a: Appliance, b: Appliance) -> None:
    """The share docs of a, with two files and a folder, and its copy on b."""
    for node in (a, b):
        await make_volume(node, "docs")
        agent = {"is_enabled": True, "address": "127.0.0.1", "port": PORTS[node.config.node]}
        await node.change("PUT", "/v1/agent", agent)
    replica = {"name": "replica", "share": "docs", "allowed_sources": ["127.0.0.1"], **LOGIN}
    await b.change("POST", "/v1/replica-shares", replica)
    where = {"agent_address": "127.0.0.1", "agent_port": PORTS["b"], "replica_share": "replica"}
    await a.change("POST", "/v1/replication-tasks", {"name": "task", "share": "docs", **where, **LOGIN})
    (home(a) / "letters").mkdir()
    (home(a) / "letters/one").write_text("dear reader")
    (home(a) / "letters/two").write_text("dear editor")
    (home(a) / "plan").write_text("the plan")
    await run(a)
    await b.system.services.copy_ages.look()


async def run(a: Appliance) -> Any:
    """Run the task."""
    return await a.change("POST", f"{TASK}/run")


def tree(node: Appliance, share: str = "docs") -> dict[str, str]:
    """Every file of a share, and its text."""
    top = home(node, share)
    return {str(path.relative_to(top)): path.read_text() for path in sorted(top.rglob("*")) if path.is_file()}


async def assert_nothing_is_left(*nodes: Appliance, kept: int = 0) -> None:
    """No snapshot but those that are kept, no mount, no opening."""
    for node in nodes:
        assert await node.items("/v1/restore-openings") == []
        names = [snapshot["name"] for snapshot in await node.items("/v1/snapshots")]
        assert [name for name in names if name.startswith(("restore-", "run-"))] == []
        assert not list(node.config.run_dir.glob("restores/*"))
        assert not list(node.config.run_dir.glob("looks/*"))
        assert "restore-" not in str(node.mechanisms.copies.network.agents)
