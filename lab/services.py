"""Services in a node: what the service manager does for the product in production."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESTART_AFTER_S = 0.2
STOP_WITHIN_S = 10.0


@dataclass(frozen=True)
class Definition:
    """How to run one service."""

    name: str
    argv: list[str]
    env: dict[str, str]
    restart: bool


class Services:
    """All services of the node. `directory` lies on the host: logs, and what starts at boot."""

    def __init__(self, directory: Path) -> None:
        """Start nothing yet."""
        self._directory = directory
        self._enabled = directory / "enabled.json"
        self._running: dict[str, _Service] = {}
        self._lock = threading.Lock()

    def start_enabled(self) -> None:
        """Start what asked to be started at each boot."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for fields in self._read_enabled().values():
            self._launch(Definition(**fields))

    def start(self, name: str, argv: list[str], env: dict[str, str], *, restart: bool, at_boot: bool) -> None:
        """Start a service; one of the same name is stopped first."""
        self.stop(name)
        definition = Definition(name, argv, env, restart)
        if at_boot:
            self._write_enabled({**self._read_enabled(), name: asdict(definition)})
        self._launch(definition)

    def stop(self, name: str) -> None:
        """Stop a service and forget it; it does not start at the next boot either."""
        with self._lock:
            service = self._running.pop(name, None)
        if service:
            service.stop()
        enabled = self._read_enabled()
        if enabled.pop(name, None):
            self._write_enabled(enabled)

    def kill(self, name: str, number: int) -> None:
        """Signal the main process of a service. Raises KeyError, ProcessLookupError."""
        pid = self._running[name].pid
        if pid is None:
            raise ProcessLookupError(f"service {name} has no process right now")
        os.kill(pid, number)

    def status(self) -> dict[str, dict[str, int | None]]:
        """For each service its process id (None between two), starts, and last exit code."""
        with self._lock:
            return {
                name: {"pid": s.pid, "starts": s.starts, "exit_code": s.exit_code} for name, s in self._running.items()
            }

    def _launch(self, definition: Definition) -> None:
        service = _Service(definition, self._directory / f"{definition.name}.log")
        service.start()
        with self._lock:
            self._running[definition.name] = service

    def _read_enabled(self) -> dict[str, dict[str, Any]]:
        if not self._enabled.exists():
            return {}
        found: dict[str, dict[str, Any]] = json.loads(self._enabled.read_text())
        return found

    def _write_enabled(self, enabled: dict[str, dict[str, Any]]) -> None:
        self._enabled.write_text(json.dumps(enabled))


class _Service:
    """One supervised process."""

    def __init__(self, definition: Definition, log: Path) -> None:
        self._definition = definition
        self._log = log
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self.starts = 0
        self.exit_code: int | None = None

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process and process.returncode is None else None

    def start(self) -> None:
        # The first start happens here, so that a program that does not exist is the caller's error.
        self._process = self._spawn()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        deadline = time.monotonic() + STOP_WITHIN_S
        number = signal.SIGTERM
        while self._thread.is_alive():
            pid = self.pid
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)
            self._thread.join(max(0.1, deadline - time.monotonic()))
            number = signal.SIGKILL

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        self._write(f"--- start {self.starts}: {' '.join(self._definition.argv)}\n".encode())
        process = subprocess.Popen(
            self._definition.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._definition.env},
            start_new_session=True,
        )
        threading.Thread(target=self._copy_log, args=(process,), daemon=True).start()
        return process

    def _supervise(self) -> None:
        process = self._process
        while process:
            self.exit_code = process.wait()
            self._write(f"--- ended with code {self.exit_code}\n".encode())
            if not self._definition.restart or self._stopping.wait(RESTART_AFTER_S):
                return
            process = self._process = self._spawn()

    def _copy_log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        while data := os.read(process.stdout.fileno(), 1 << 16):
            self._write(data)
        process.stdout.close()

    def _write(self, data: bytes) -> None:
        # Opened for each write: hostfs hands a file's pages to the host when it is closed, and a
        # power cut must not take the last lines (fs/hostfs/hostfs_kern.c:hostfs_file_release).
        with self._log.open("ab") as file:
            file.write(data)
