"""Steps 3 to 6 (being written)."""

from __future__ import annotations

from demo.bed import Bed
from demo.report import Report


def run(bed: Bed, report: Report) -> None:
    """Nothing yet."""
