"""The host that uses the storage: open-iscsi on node c, stamped writes, and the judgement on them."""

from __future__ import annotations

import threading
from pathlib import Path

from demo.bed import StorageNode, wait_for
from lab import Node
from lab.checker import Verdict, check
from lab.layout import CHECKOUT

INTERVAL_MS = 5.0
ENDS_WITHIN_S = 30.0


class Initiator:
    """An iSCSI initiator with one disk."""

    def __init__(self, node: Node, iqn: str, address: str) -> None:
        """Describe it; log in nowhere yet."""
        self.node = node
        self._record = ["iscsiadm", "-m", "node", "-T", iqn, "-p", f"{address}:3260"]

    @property
    def name(self) -> str:
        """Its own IQN."""
        return self.node.read_file("/etc/iscsi/initiatorname.iscsi").decode().strip().removeprefix("InitiatorName=")

    def log_in(self, storage: StorageNode, target: str) -> str:
        """Log in, set to what `storage` says an initiator of the target is to be; the path of the disk."""
        self.node.run(["modprobe", "--all", "iscsi_tcp", "sd_mod"])
        self.node.run(["mkdir", "-p", "/run/lock/iscsi"])
        self.node.start_service("iscsid", ["iscsid", "--foreground", "--no-pid-file"])
        for command in storage.api.get(f"/v1/targets/{target}/initiator-profile")["commands"]:
            self.node.run(command)
        self.node.run([*self._record, "-l"])
        wait_for(lambda: bool(self.disks()), 10, "the initiator sees a disk")
        return f"/dev/{self.disks()[0]}"

    def log_out(self) -> None:
        """Log out and forget; nothing to forget is no error."""
        self.node.run(["iscsiadm", "-m", "node", "-u"], check=False)
        self.node.run(["iscsiadm", "-m", "node", "-o", "delete"], check=False)
        self.node.stop_service("iscsid")

    def disks(self) -> list[str]:
        """Names of the disks that it sees, such as `sda`."""
        names = self.node.run(["ls", "/sys/block"]).stdout.decode().split()
        return [name for name in names if name.startswith("sd")]


class Writing:
    """Stamped writes under way. Every line the writer says is kept on the host, in a file, as it comes."""

    def __init__(
        self,
        node: Node,
        device: str,
        run: str,
        *,
        first: int,
        blocks: int,
        log: Path,
        after: int = 0,
        interval_ms: float = INTERVAL_MS,
    ) -> None:
        """Start writing round the region; `after` is the last sequence that an earlier part of the run issued."""
        self._node = node
        self._argv = ["python3", "-m", "lab.writer", "--device", device, "--run", run]
        self._argv += ["--first", str(first), "--blocks", str(blocks)]
        self._lines: list[str] = []
        self.acknowledged = 0
        more = ["--interval-ms", str(interval_ms), "--after", str(after)]
        self._writer = node.popen([*self._argv, *more], cwd=str(CHECKOUT))
        self._listener = threading.Thread(target=self._listen, args=(log,), daemon=True)
        self._listener.start()

    def _listen(self, log: Path) -> None:
        with log.open("w") as file:
            for line in self._writer.lines():
                self._lines.append(line)
                self.acknowledged += line.startswith("ack")
                file.write(f"{line}\n")

    def wait_acknowledged(self, more: int, within_s: float) -> None:
        """Return when so many more writes were acknowledged. Raises TimeoutError."""
        goal = self.acknowledged + more
        wait_for(lambda: self.acknowledged >= goal, within_s, f"{more} more writes are acknowledged")

    def stop(self) -> None:
        """End writing, when all that is under way has ended."""
        self._writer.terminate()
        self._writer.wait(ENDS_WITHIN_S)
        self._listener.join(ENDS_WITHIN_S)

    def kill(self) -> None:
        """End it at once, and wait for nothing that is under way."""
        self._writer.kill()

    def judge(self, at: Node | None = None) -> Verdict:
        """Read every block back and compare with what was acknowledged; only after `stop`.

        `at` another node than the writer's, where the disk has the same name.
        """
        return check(self.lines, self.read_back(at))

    @property
    def lines(self) -> list[str]:
        """What the writer said so far."""
        return list(self._lines)

    def read_back(self, at: Node | None = None) -> list[str]:
        """What each block of the region holds, in the writer's words; `at` as for `judge`."""
        held = (at or self._node).run([*self._argv, "--verify"], cwd=str(CHECKOUT), timeout_s=120)
        return held.stdout.decode().splitlines()


def assert_clean(verdict: Verdict) -> None:
    """Raise AssertionError unless nothing was lost and nothing failed."""
    assert verdict.acknowledged, "not one write was acknowledged"
    assert verdict.is_clean, (
        f"{len(verdict.lost)} acknowledged writes lost {verdict.lost[:3]}, {len(verdict.failed)} failed,"
        f" {len(verdict.corrupt)} blocks corrupt, {len(verdict.unchecked)} not read"
    )
