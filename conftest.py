"""What holds for every run of tests."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what boots virtual nodes last, in the random order that the rest has too: cheap tests fail first."""
    items.sort(key=lambda item: item.get_closest_marker("lab") is not None)
