"""The files of the agent: what rsync and stunnel read, secrets and notes."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from holdfast.hooks.replication import AgentSpec, CopyNote, ReplicaShare
from holdfast.system.files import sync_directory, write_atomically
from holdfast_rep_rsync import configuration, notes, tunnel
from holdfast_rep_rsync.configuration import NotePlaces
from holdfast_rep_rsync.settings import Settings


class AgentFiles:
    """They lie in `directory`, but for the notes and what goes with them, below `state_dir`: those outlast a reboot."""

    def __init__(self, directory: Path, state_dir: Path, settings: Settings) -> None:
        self._settings = settings
        self.directory = directory
        self.config = directory / "rsyncd.conf"
        self.log = directory / "log"
        self.tunnel = tunnel.TunnelFiles(directory / "trusted.pem", directory / "tunnel.log")
        self._notes = NotePlaces(
            state_dir / "notes", directory / "nothing", state_dir / "untouched", directory / "facts"
        )

    def write(self, replicas: tuple[ReplicaShare, ...]) -> None:
        """Write what rsync reads: exactly these replica shares."""
        below = (self.directory / "secrets", self.directory / "locks", self._notes.nothing, self._notes.facts)
        told = [self._notes.facts / share.name for share in replicas]
        for directory in (self.directory, *below, *told, self._notes.directory, self._notes.untouched):
            directory.mkdir(mode=0o700, exist_ok=True)
        # Secrets before the configuration that names them, and the old ones away after it:
        # each connection in between finds a whole one.
        secrets = {module: data for share in replicas for module, data in configuration.modules(share).items()}
        for module, data in secrets.items():
            _write_if_other(self.directory / "secrets" / module, data)
        text = configuration.render(
            replicas,
            log_file=self.log,
            secrets_directory=self.directory / "secrets",
            lock_directory=self.directory / "locks",
            notes=self._notes,
            agent_io_timeout_s=self._settings.agent_io_timeout_s,
        )
        _write_if_other(self.config, text.encode())
        for path in self._secrets():
            if path.name not in secrets:
                path.unlink(missing_ok=True)
        # Only now: whoever is let in after this reads the new configuration.
        for directory in (self._notes.directory, self._notes.untouched):
            notes.keep_only(directory, {share.name for share in replicas})

    def write_tunnel(self, spec: AgentSpec) -> bool:
        """Write what stunnel reads, if it is wanted; tell whether it is something else than before."""
        if spec.tls is None:
            return False
        program = shutil.which(self._settings.program) or self._settings.program
        text = tunnel.render_agent(
            spec,
            spec.tls,
            self.tunnel,
            program=program,
            config_file=self.config,
            handshake_s=self._settings.connect_timeout_s,
            dead_peer_s=self._settings.dead_peer_s,
        )
        is_changed = _write_if_other(self.tunnel.trusted, "".join(spec.tls.trusted).encode())
        return _write_if_other(self.tunnel_config(spec), text.encode()) or is_changed

    def tunnel_config(self, spec: AgentSpec) -> Path:
        """Named after where it listens: stunnel's command line says nothing else."""
        return self.directory / f"tunnel@{spec.address}@{spec.port}"

    def tunnel_configs(self) -> tuple[Path, ...]:
        """Of wherever an agent listened."""
        return tuple(self.directory.glob("tunnel@*"))

    def _secrets(self) -> tuple[Path, ...]:
        with contextlib.suppress(FileNotFoundError):
            return tuple((self.directory / "secrets").iterdir())
        return ()

    def remove(self) -> None:
        """Remove what is read by an agent that runs, and all notes."""
        for path in (self.config, self.tunnel.trusted, *self.tunnel_configs(), *self._secrets()):
            path.unlink(missing_ok=True)
        for directory in (self._notes.directory, self._notes.untouched):
            if directory.is_dir():
                notes.keep_only(directory, ())

    def offers(self, replica: str) -> bool:
        """Whether the agent has a replica share."""
        return (self.directory / "secrets" / replica).exists()

    def lock_of(self, replica: str) -> Path:
        """What a copy into a replica share holds."""
        return self.directory / "locks" / replica

    def is_untouched(self, replica: str) -> bool:
        """Whether nobody wrote to a replica share since its note was left."""
        return (self._notes.untouched / replica).exists()

    def forget_untouched(self) -> None:
        """Take every replica share for one that somebody may have written to."""
        with contextlib.suppress(FileNotFoundError):
            notes.keep_only(self._notes.untouched, ())
            sync_directory(self._notes.untouched)

    def read_notes(self) -> dict[str, CopyNote]:
        """See CopyDriver."""
        return notes.read(self._notes.directory, [path.name for path in self._secrets()])


def size(path: Path) -> int:
    """Of a file that may not be there."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def since(path: Path, start: int) -> str:
    """What was added to a log."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
        stream.seek(start)
        return stream.read(65536).decode(errors="replace")
    return ""


def _write_if_other(path: Path, data: bytes) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return False
    write_atomically(path, data)
    return True
