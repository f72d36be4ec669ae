"""Authentication of those who ask which targets there are. It is one for the whole node."""

from __future__ import annotations

from holdfast.hooks.target import Chap
from holdfast.system.kernelfs import KernelFs
from holdfast.values import Secret
from holdfast_iscsi_lio.plan import Write
from holdfast_iscsi_lio.tree import ISCSI, UNSET

DISCOVERY = f"{ISCSI}/discovery_auth"


def wanted_discovery(chap: Chap | None) -> tuple[Write, ...]:
    """What to write, in order: the credentials are there before they are asked for, and until they are no more."""
    values = {
        "userid": chap.user if chap else UNSET,
        "password": chap.password if chap else Secret(UNSET),
        "userid_mutual": (chap.mutual_user if chap else None) or UNSET,
        "password_mutual": (chap.mutual_password if chap else None) or Secret(UNSET),
    }
    writes = [Write(f"{DISCOVERY}/{name}", value) for name, value in values.items()]
    enforce = Write(f"{DISCOVERY}/enforce_discovery_auth", "1" if chap else "0")
    return (*writes, enforce) if chap else (enforce, *writes)


def differing_discovery(kernel: KernelFs, chap: Chap | None) -> tuple[Write, ...]:
    """What of that is otherwise now."""
    return tuple(step for step in wanted_discovery(chap) if _read(kernel, step.path) != step.value)


def _read(kernel: KernelFs, path: str) -> str:
    return kernel.read(path) or UNSET
