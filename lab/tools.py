"""Host commands the lab runs on its own behalf."""

from __future__ import annotations

import os
import subprocess

from lab.errors import LabError

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"}


def call(argv: list[str], *, check: bool = True, stdin: str | None = None) -> str:
    """Run a short command of the host, return its output. Raises LabError unless it succeeds."""
    try:
        done = subprocess.run(
            argv,
            input=stdin or "",
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            timeout=60,
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is missing on this machine") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"`{' '.join(argv)}` did not end within 60 s") from None
    if check and done.returncode != 0:
        raise LabError(f"`{' '.join(argv)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
