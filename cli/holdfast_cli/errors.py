"""What ends a command, each with the exit code that scripts may rest on."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Exit codes. They never change their meaning."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    DENIED = 5
    JOB_FAILED = 6
    UNREACHABLE = 20
    TIMEOUT = 21
    INTERRUPTED = 130


class CommandError(Exception):
    """The command ends: `message` is a sentence for the person, `remedy` what to do about it."""

    def __init__(self, code: Exit, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy


class ProblemError(Exception):
    """The daemon said no, or a job of its failed: `problem` is an RFC 9457 document."""

    def __init__(self, code: Exit, problem: Mapping[str, Any], *, intro: str | None = None) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or "the request failed"))
        self.code = code
        self.problem = problem
        self.intro = intro


# 400 and 422 speak of what was typed; 412, 428 and 507 of a state that is another than was taken for granted.
_CODES = {
    400: Exit.USAGE,
    401: Exit.DENIED,
    403: Exit.DENIED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    422: Exit.USAGE,
    428: Exit.CONFLICT,
    504: Exit.TIMEOUT,
    507: Exit.CONFLICT,
}


def exit_code_of(status: int) -> Exit:
    """The exit code for an HTTP status that is an error."""
    return _CODES.get(status, Exit.FAILURE)
