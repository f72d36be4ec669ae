from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.store.database import Database
from holdfast.testing.fakes import ManualClock


@pytest.fixture
async def database(quick_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(quick_path / "holdfast.sqlite")
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
