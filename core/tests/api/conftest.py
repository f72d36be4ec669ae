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
async def jobs(quick_path: Path) -> AsyncIterator[Jobs]:
    database, clock = await Database.open(quick_path / "holdfast.sqlite"), ManualClock()
    made = Jobs(JobStore(database, clock), clock, Events(EventLog(database, clock)), node="a")
    yield made
    await made.stop()
    await database.close()
