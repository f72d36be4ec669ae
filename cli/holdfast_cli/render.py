"""The API's documents as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from holdfast_cli.sizes import show_size


def clean(text: str) -> str:
    """The text without control characters: what a name or a label holds must not steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def table(items: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    """Lines of a table. A column is a field's dotted path; one that no item has is left out."""
    shown = [column for column in columns if any(_find(item, column) is not None for item in items)]
    rows = [[_title(column) for column in shown]]
    rows += [[_cell(_find(item, column), column) for column in shown] for item in items]
    widths = [max(len(row[i]) for row in rows) for i in range(len(shown))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def details(document: Any, indent: str = "") -> Iterator[str]:
    """Lines of `field: value`, what is nested set in by two."""
    if isinstance(document, Mapping):
        for field, value in document.items():
            if _is_nested(value):
                yield f"{indent}{clean(str(field))}:"
                yield from details(value, indent + "  ")
            else:
                yield f"{indent}{clean(str(field))}: {_scalar(value, str(field))}"
    elif isinstance(document, (list, tuple)):
        for item in document:
            if _is_nested(item):
                first, *rest = details(item, indent + "  ")
                yield f"{indent}- {first.lstrip()}"
                yield from rest
            else:
                yield f"{indent}- {_scalar(item, '')}"
    else:
        yield indent + _scalar(document, "")


def problem(document: Mapping[str, Any]) -> Iterator[str]:
    """Lines of an RFC 9457 problem: what, then each reason with its field and its remedy."""
    text = str(document.get("detail") or document.get("title") or "the request failed")
    code = document.get("code")
    yield clean(f"{text} ({code})" if code else text)
    for reason in document.get("reasons") or ():
        field = f"{reason['field']}: " if reason.get("field") else ""
        yield f"  - {clean(field + str(reason.get('text') or reason.get('code') or ''))}"
        if reason.get("remedy"):
            yield f"    remedy: {clean(str(reason['remedy']))}"


def _is_nested(value: Any) -> bool:
    # A short list of words reads better on the line.
    if isinstance(value, list) and all(isinstance(item, (str, int)) for item in value):
        return False
    return isinstance(value, (Mapping, list, tuple)) and len(value) > 0


def _find(item: Mapping[str, Any], path: str) -> Any:
    found: Any = item
    for field in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(field)
    return found


def _title(column: str) -> str:
    return column.rpartition(".")[2].removesuffix("_bytes").removeprefix("is_").replace("_", " ").upper()


def _cell(value: Any, column: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and column.endswith("_bytes"):
        return show_size(value).partition(" (")[0]
    if isinstance(value, list):
        return ",".join(_cell(item, "") for item in value) or "-"
    if isinstance(value, Mapping):
        return " ".join(_cell(item, str(field)) for field, item in value.items()) or "-"
    return _scalar(value, column)


def _scalar(value: Any, field: str) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and field.endswith("_bytes"):
        return show_size(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(_scalar(item, "") for item in value) or "-"
    if isinstance(value, Mapping):
        return "-"
    return clean(str(value))
