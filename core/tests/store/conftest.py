from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.store.database import Database
from holdfast.testing.fakes import ManualClock


@pytest.fixture
def path(quick_path: Path) -> Path:
    return quick_path / "state" / "holdfast.sqlite"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(path)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
