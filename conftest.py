"""What holds for every run of tests."""

from __future__ import annotations

import signal
from collections import defaultdict

import pytest

# A shell has what it starts in the background ignore Ctrl-C, and every process started from there with it: the tests
# that press it would wait in vain.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what boots virtual nodes last, in the random order that the rest has too: cheap tests fail first.

    Tests marked `in_order` build on those above them: within their module they keep the order of the file.
    """
    items.sort(key=lambda item: item.get_closest_marker("lab") is not None)
    places: dict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        if item.get_closest_marker("in_order"):
            places[item.location[0]].append(place)
    for of_module in places.values():
        in_order = sorted((items[place] for place in of_module), key=lambda item: item.location[1] or 0)
        for place, item in zip(of_module, in_order, strict=True):
            items[place] = item
