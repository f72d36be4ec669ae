"""The nodes' kernel: its modules, made findable for modprobe, and what is loaded into it so that it runs everywhere."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from pathlib import Path

from lab.errors import LabError
from lab.layout import CACHE, make_ignored
from lab.tools import call

_PACKAGED = Path("/usr/lib/uml/modules")
_SOURCES = tuple(Path(__file__).with_name(name) for name in ("floating_point.c", "timer.c", "wakeup.c", "traced.h"))


def release() -> str:
    """The release of the installed kernel that has modules."""
    told = call(["linux.uml", "--version"]).strip()
    if not (_PACKAGED / told).is_dir():
        raise LabError(f"{_PACKAGED / told} is missing: reinstall the package user-mode-linux")
    return told


def prepare_modules(cache: Path = CACHE) -> Path:
    """A directory with `lib/modules/<release>` as modprobe wants it; made once, then found.

    The package puts the modules where modprobe does not look, and without an index.
    """
    found = release()
    root = cache / f"modules-{found}"
    make_ignored(cache)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            draft = cache / f"draft-{found}"
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(_PACKAGED / found, draft / "lib" / "modules" / found, symlinks=True)
            call(["depmod", "-b", str(draft), found])
            draft.rename(root)
    return root


def prepare_library(cache: Path = CACHE) -> Path:
    """The shared library that linux.uml is started with, of `_SOURCES`; compiled once, then found."""
    text = b"".join(source.read_bytes() for source in _SOURCES)
    made = cache / f"linux-uml-{hashlib.sha256(text).hexdigest()[:12]}.so"
    make_ignored(cache)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            draft = cache / "draft.so"
            sources = [str(source) for source in _SOURCES if source.suffix == ".c"]
            call(["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(draft), *sources])
            draft.rename(made)
    return made
