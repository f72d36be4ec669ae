"""Notes on copies: what a source may leave with a replica share, and what it cannot."""

from __future__ import annotations

import base64
import os
import shutil
import signal
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from holdfast.errors import InvalidError
from holdfast.hooks.replication import CopyNote
from holdfast_rep_rsync import notes
from plugins.rep_rsync.tests.machine import Machine, wait_until

NOTE = CopyNote("nightly", "node-a", datetime(2026, 3, 1, 12, 30, tzinfo=UTC), 3600)
URL = "rsync://copier@127.0.0.1"


def requested(text: str) -> str:
    return f"docs+note/{base64.urlsafe_b64encode(text.encode()).decode()}"


def test_a_note_comes_back_as_it_was_told() -> None:
    for note in (NOTE, replace(NOTE, objective_s=None), replace(NOTE, task="ä" * 20)):
        assert notes.decode(f"docs+note/{notes.encode(note)}", "docs") == note


def test_a_note_that_no_file_could_be_named_after_is_refused() -> None:
    with pytest.raises(InvalidError) as refused:
        notes.encode(replace(NOTE, task="t" * 200))
    assert refused.value.reasons[0].remedy


@pytest.mark.parametrize(
    "request_",
    [
        "",
        "docs+note/",
        "docs+note/%%%",
        "docs+note/a",
        f"other+note/{notes.encode(NOTE)}",
        f"docs+note/{notes.encode(NOTE)[:-9]}",
        requested("[]"),
        requested("{}"),
        requested("[" * 100_000),
        requested('{"task":"t","source":"a","frozen_at":"yesterday","objective_s":null}'),
        requested('{"task":"t","source":"a","frozen_at":"2026-03-01T12:30:00","objective_s":null}'),
        requested('{"task":"t","source":"a","frozen_at":"2026-03-01T12:30:00+00:00","objective_s":"1"}'),
        requested('{"task":"t","source":"a","frozen_at":"2026-03-01T12:30:00+00:00","objective_s":1,"more":1}'),
    ],
)
def test_what_is_no_note_is_none(request_: str) -> None:
    assert notes.decode(request_, "docs") is None


async def test_whatever_is_asked_for_is_kept_as_text_of_bounded_length(machine: Machine) -> None:
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    module = f"{URL}:{machine.spec.port}/docs+note"
    directory = machine.directory / "state" / "notes"
    before = {path.name for path in machine.directory.iterdir()} | {"password"}
    hostile = (
        f"$(touch {machine.directory}/hacked);`touch {machine.directory}/hacked`\"'; touch {machine.directory}/x #"
    )
    for name in (hostile, "../../docs", "x" * 4000):
        await machine.run_rsync("--dirs", "--ignore-missing-args", f"{module}/{name}")
        assert await driver.read_notes() == {}
        assert [path.name for path in directory.iterdir()] == ["docs"]
        assert (directory / "docs").stat().st_size <= 512
    assert {path.name for path in machine.directory.iterdir()} == before
    assert (directory / "docs").stat().st_mode & 0o777 == 0o600


async def test_nothing_can_be_written_where_notes_are_taken(machine: Machine) -> None:
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    (machine.source / "file").write_bytes(b"x")
    module = f"{URL}:{machine.spec.port}/docs+note/"
    for options in (("--dirs",), ("--dirs", "--ignore-missing-args"), ("-a",)):
        assert await machine.run_rsync(*options, f"{machine.source}/", module) != 0
    assert list((machine.run_dir / "agent" / "nothing").iterdir()) == []


async def test_notes_outlast_a_reboot(machine: Machine) -> None:
    driver = await machine.open()
    await driver.start_agent(machine.spec, (machine.share,))
    await driver.leave_note(machine.run, NOTE)
    await driver.close()
    os.kill(machine.listener().pid, signal.SIGKILL)
    await wait_until(lambda: machine.processes() == (), within_s=1)
    shutil.rmtree(machine.run_dir)
    machine.run_dir.mkdir()
    again = await machine.open()
    await again.start_agent(machine.spec, (machine.share,))
    assert await again.read_notes() == {"docs": NOTE}
