"""Which paths the rules of a copy leave out, as `FilterRule` says it; drivers of other tools are compared with this."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import lru_cache

from holdfast.errors import InvalidError, Reason
from holdfast.hooks.copying import FilterRule

MOST_RULES = 256
LONGEST_PATTERN = 512
_REFUSED = re.compile(r"[\x00-\x1f\x7f\\]|\*\*\*|\[:")


def check_pattern(pattern: str) -> None:
    """Raises InvalidError for a pattern that does not mean what `FilterRule` says, or that tools read differently."""
    text = None
    if not pattern.strip("/") or len(pattern) > LONGEST_PATTERN:
        text = f"a pattern has 1 to {LONGEST_PATTERN} characters that are not all slashes"
    elif _REFUSED.search(pattern) or pattern != pattern.strip():
        text = f"{pattern!r} has a control character, a backslash, `***`, `[:` or an outer space"
    elif "//" in pattern or {".", ".."} & set(pattern.split("/")):
        text = f"{pattern!r} has an empty part, `.` or `..`, which no path has"
    else:
        try:
            _expression(pattern)
        except re.error:
            text = f"{pattern!r} has a bracket that is not closed or a range that is empty"
    if text:
        remedy = "give a name or a path, with * ** ? and [a-z]; ? stands for a character that cannot be given"
        raise InvalidError(text, reasons=[Reason("bad-pattern", text, remedy, "filters")])


def is_excluded(rules: Sequence[FilterRule], path: str, *, is_directory: bool) -> bool:
    """Whether a path relative to the source, or a directory that it lies in, is left out."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        part = "/".join(parts[:depth])
        if not _decide(rules, part, is_directory=is_directory or depth < len(parts)):
            return True
    return False


def _decide(rules: Sequence[FilterRule], path: str, *, is_directory: bool) -> bool:
    for rule in rules:
        if (is_directory or not rule.pattern.endswith("/")) and _expression(rule.pattern).search(os.fsencode(path)):
            return rule.is_included
    return True


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[bytes]:
    body = pattern.strip("/")
    start = r"\A" if pattern.startswith("/") else r"(?:\A|/)"
    # As bytes: a name need not be text, and `?` is one byte of it.
    return re.compile(os.fsencode(start + "".join(_translate(body)) + r"\Z"), re.DOTALL)


def _translate(body: str) -> list[str]:
    words, place = [], 0
    while place < len(body):
        sign = body[place]
        if sign == "*":
            is_any = body.startswith("**", place)
            words.append(".*" if is_any else "[^/]*")
            place += 2 if is_any else 1
        elif sign == "[":
            # A bracket right after the opening one is one of its characters.
            end = body.find("]", place + (3 if body[place + 1 : place + 2] in ("!", "^") else 2))
            if end < 0:
                raise re.error("a bracket is not closed")
            chosen = body[place + 1 : end]
            is_not = chosen[0] in "!^"
            chosen = (chosen[1:] if is_not else chosen).replace("[", r"\[").replace("]", r"\]").replace("^", r"\^")
            words.append(f"(?!/)[{'^' if is_not else ''}{chosen}]")
            place = end + 1
        else:
            words.append("[^/]" if sign == "?" else re.escape(sign))
            place += 1
    return words
