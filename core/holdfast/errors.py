"""The error tree: one class for each thing a caller can do about it.

Errors never log themselves; whoever handles one logs it once. HTTP statuses are
given to them in `holdfast.api.errors` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Reason:
    """Why something was refused, and what to do about it.

    `code` is stable and machine-readable; `field` names the input it speaks of, as a
    dotted path, where there is one.
    """

    code: str
    text: str
    remedy: str
    field: str | None = None


class HoldfastError(Exception):
    """The root. `code` is part of the API and never changes its meaning."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, reasons: Sequence[Reason] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.reasons = tuple(reasons)


class InvalidError(HoldfastError):
    """The caller's input is wrong; `reasons` name each field."""

    code = "invalid"


class KeyReusedError(InvalidError):
    """An idempotency key names one request, and came with another."""

    code = "idempotency-key-reused"


class NotFoundError(HoldfastError):
    """The named thing does not exist."""

    code = "not-found"


class ConflictError(HoldfastError):
    """The thing exists otherwise than asked, or its state forbids the change."""

    code = "conflict"


class RefusedError(ConflictError):
    """The change is possible but unsafe as things are: every reason is listed."""

    code = "refused"


class PreconditionError(ConflictError):
    """What the caller saw when it decided is no longer so: it reads again."""

    code = "precondition-failed"


class ConfirmationError(ConflictError):
    """A destructive call must name what it destroys (`confirm`)."""

    code = "confirmation-needed"


class BusyError(ConflictError):
    """Something uses the thing; `reasons` say what."""

    code = "busy"


class NoSpaceError(ConflictError):
    """There is not enough room; the message says how much is missing."""

    code = "no-space"


class DeniedError(HoldfastError):
    """The caller is unknown or may not do this."""

    code = "denied"


class UnsupportedError(HoldfastError):
    """The driver does not declare this operation."""

    code = "unsupported"


class UnavailableError(HoldfastError):
    """A part that is needed does not answer now: a plugin, the partner, an agent."""

    code = "unavailable"


class VerificationError(HoldfastError):
    """What was read back is not what was asked for or sent."""

    code = "verification-failed"


class SystemCommandError(HoldfastError):
    """A command failed in a way that no plugin could translate.

    `stderr_tail` holds the last lines it printed. A command that timed out has an
    *unknown* effect: `returncode` is None and the caller must read before it decides.
    """

    code = "system-command"

    def __init__(self, argv: Sequence[str], returncode: int | None, stderr_tail: str) -> None:
        what = "timed out" if returncode is None else f"exited with {returncode}"
        super().__init__(f"{argv[0]} {what}: {stderr_tail.strip() or 'it printed nothing'}")
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stderr_tail = stderr_tail


@contextmanager
def named_in(field: str) -> Iterator[None]:
    """Where a field of the caller's names a thing: that it does not exist is the field's fault (InvalidError)."""
    try:
        yield
    except NotFoundError as reason:
        why = Reason("unknown", reason.message, "name one that exists", field)
        raise InvalidError(reason.message, reasons=[why]) from reason
