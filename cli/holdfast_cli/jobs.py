"""Changes are jobs of the daemon: start one, watch it, say how it ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast_cli.errors import CommandError, Exit, ProblemError
from holdfast_cli.session import Session, say, url_path

RUNNING = "running"
DONE = "done"

# Short jobs end unnoticed, long ones are not asked about all the time.
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
# A daemon that is restarted finishes or undoes its jobs: it may be away that long meanwhile.
_RESTART_S = 60.0


@dataclass(frozen=True)
class Change:
    """A command that changes something, and how it was asked to go about it."""

    session: Session
    is_async: bool = False
    is_dry_run: bool = False
    timeout_s: float | None = None

    def send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
    ) -> Any:
        """Ask for the change and see it through: print what came of it, and return that; None where nothing did yet.

        Raises ProblemError when it is refused or its job fails, CommandError when the time is over.
        """
        asked = dict(query or {})
        if self.is_dry_run:
            asked["validate_only"] = "true"
        document = self.session.send(method, path, body, asked)
        if self.is_dry_run:
            from holdfast_cli.render import clean

            say("nothing was changed: every check passed")
            for warned in (document or {}).get("warnings", ()):
                say(f"warning: {clean(str(warned['text']))}; {clean(str(warned['remedy']))}")
            if self.session.as_json:
                self.session.show(document)
        elif not is_job(document):
            self.session.show(document)
        elif self.is_async:
            show_started(self.session, document)
        else:
            return finish(self.session, document, self.timeout_s)
        return None


def is_job(document: Any) -> bool:
    """Whether a document of the API is a job's."""
    return isinstance(document, dict) and {"id", "kind", "state", "steps"} <= document.keys()


def show_started(session: Session, job: Mapping[str, Any]) -> None:
    """Print the job's id, or all of it as JSON."""
    if session.as_json:
        session.show(job)
    else:
        from holdfast_cli.render import clean

        session.show(clean(str(job["id"])))


def finish(session: Session, job: Mapping[str, Any], timeout_s: float | None) -> Any:
    """Wait for a job, print what came of it, as JSON the job, else its result, and return the result.

    Raises ProblemError when it did not end done, CommandError when it is left to go on.
    """
    ended = wait_for(session, job, timeout_s)
    if session.as_json:
        session.show(ended)
    if ended["state"] != DONE:
        raise ProblemError(
            Exit.JOB_FAILED,
            ended.get("error") or {},
            intro=f"job {ended['id']} ({ended['kind']}) ended {ended['state']}",
        )
    if not session.as_json:
        if ended.get("result") is None:
            say(f"done: {_subject(ended)}")
        session.show(ended.get("result"))
    return ended.get("result")


def wait_for(session: Session, job: Mapping[str, Any], timeout_s: float | None) -> dict[str, Any]:
    """The job's document once it is no longer running."""
    give_up_at_s = None if timeout_s is None else time.monotonic() + timeout_s
    line = _ProgressLine()
    pause_s = _FIRST_PAUSE_S
    document = dict(job)
    try:
        while document["state"] == RUNNING:
            line.show(document)
            if give_up_at_s is not None and time.monotonic() >= give_up_at_s:
                raise CommandError(
                    Exit.TIMEOUT, f"job {document['id']} still runs and goes on", f"holdfast job wait {document['id']}"
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
            document = _read(session, str(document["id"]))
    except KeyboardInterrupt:
        raise CommandError(
            Exit.INTERRUPTED,
            f"no longer waiting for job {document['id']}: it goes on",
            f"holdfast job wait {document['id']}, or holdfast job cancel {document['id']}",
        ) from None
    finally:
        line.clear()
    return document


def _read(session: Session, job_id: str) -> dict[str, Any]:
    """Read a job, patiently: a restarted daemon takes it up where it was."""
    give_up_at_s = time.monotonic() + _RESTART_S
    while True:
        try:
            document = session.get(url_path("jobs", job_id))
        except CommandError as reason:
            if reason.code is not Exit.UNREACHABLE or time.monotonic() >= give_up_at_s:
                raise
            time.sleep(_LONGEST_PAUSE_S)
        else:
            assert isinstance(document, dict)
            return document


def _subject(job: Mapping[str, Any]) -> str:
    from holdfast_cli.render import clean

    return clean(f"{job['kind']} {job.get('target') or ''}".strip())


class _ProgressLine:
    """One line on a terminal that is written over and over; nothing anywhere else."""

    def __init__(self) -> None:
        self._is_shown = False

    def show(self, job: Mapping[str, Any]) -> None:
        if not sys.stderr.isatty():
            return
        from holdfast_cli.render import clean

        progress = job.get("progress") or {}
        percent = progress.get("percent")
        text = f"{_subject(job)}: {clean(str(progress.get('text') or 'under way'))}"
        if percent is not None:
            text += f" {percent:.0f}%"
        self._is_shown = True
        sys.stderr.write(f"\r\x1b[K{text[: _columns() - 1]}")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
