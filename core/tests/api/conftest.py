from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.services.events import Events
from holdfast.services.jobs import Jobs
from holdfast.store.database import Database
from holdfast.store.events import EventLog
from holdfast.store.jobs import JobStore
from holdfast.testing.fakes import ManualClock


@pytest.fixture
async def database(quick_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(quick_path / "holdfast.sqlite")
    yield opened
    await opened.close()


@pytest.fixture
async def jobs(database: Database) -> AsyncIterator[Jobs]:
    clock = ManualClock()
    made = Jobs(JobStore(database, clock), clock, Events(EventLog(database, clock)), node="a")
    yield made
    await made.stop()
