"""How a run's copy goes on after it was cut off, and when it stops to ask. Pure."""

from __future__ import annotations

from holdfast.hooks.copying import CopyPreview

MOST_RETRIES = 100
DEFAULT_RETRIES = 3
DEFAULT_RETRY_DELAY_S = 30
LONGEST_RETRY_DELAY_S = 1800
DEFAULT_MOST_DELETED_PERCENT = 50
# Of so few there is no share to speak of.
_FEW_FILES = 10


def retry_delay_s(attempt: int, first_s: int) -> int:
    """The wait after the attempt of that number, the first being 1: it doubles, up to half an hour."""
    return min(first_s << min(attempt - 1, 20), max(LONGEST_RETRY_DELAY_S, first_s))


def too_many_deleted(preview: CopyPreview, most_percent: int | None) -> str | None:
    """Say that more than its share of the replica would be deleted; None if that is not so, or nobody minds."""
    there, gone = preview.files_in_replica, preview.files_deleted
    if most_percent is None or gone <= _FEW_FILES or gone * 100 <= there * most_percent:
        return None
    return f"{gone} of the {there} files of the copy would be deleted, which is more than {most_percent} %"
