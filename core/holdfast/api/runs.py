"""`/v1/replication-runs`: the log of data replication (S26), shown by pages or downloaded whole."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from aiohttp import web
from marshmallow import fields, validate

from holdfast.api.fields import Name
from holdfast.api.jobs import next_token, page_of
from holdfast.api.routes import Call, Page, PageQuery, Route
from holdfast.services.copies.runs import TaskRuns
from holdfast.store.runs import Run, RunFilter, RunResult

CSV, JSON_LINES = "text/csv", "application/jsonl"
ROWS_AT_ONCE = 500
COUNTS = (
    *("files_considered", "files_sent", "files_deleted"),
    *("considered_bytes", "literal_bytes", "sent_bytes", "received_bytes"),
    *("files_verified", "copying_ms", "files_changed", "comparing_ms"),
)
COLUMNS = (
    *("id", "task", "type", "action", "result", "reason", "schedule", "due_at"),
    *("started_at", "ended_at", "frozen_at", "duration_s", "speed_bytes_s", "job", "way", "way_reason"),
)


class RunQuery(PageQuery):
    """Which runs. `since` and `until` are of their start. A format is all of them at once, without pages."""

    task = Name()
    result = fields.Enum(RunResult, by_value=True)
    schedule = Name()
    since = fields.AwareDateTime(format="iso")
    until = fields.AwareDateTime(format="iso")
    format = fields.String(validate=validate.OneOf(["csv", "jsonl"]))


def _shown(run: Run) -> dict[str, Any]:
    """A run as the reference product's log has it (S26): time, task name, type, result, action, and more."""
    return {
        "id": run.id,
        "task": run.task,
        "type": "data replication",
        "action": run.action,
        "result": run.result,
        "reason": run.reason,
        "schedule": run.schedule,
        "due_at": run.due_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "frozen_at": run.frozen_at,
        "duration_s": _duration_s(run),
        "speed_bytes_s": _speed_bytes_s(run),
        "job": run.job_id,
        "way": run.way,
        "way_reason": run.way_reason,
        "counts": run.counts,
    }


def _duration_s(run: Run) -> float | None:
    if run.ended_at is None or run.result is RunResult.SKIPPED:
        return None
    begun, ended = datetime.fromisoformat(run.started_at), datetime.fromisoformat(run.ended_at)
    return max(0.0, round((ended - begun).total_seconds(), 3))


def _speed_bytes_s(run: Run) -> int | None:
    """On the wire while it copied: without snapshot and verification."""
    counts = run.counts or {}
    if not counts.get("copying_ms"):
        return None
    return counts["sent_bytes"] * 1000 // counts["copying_ms"]


def csv_lines(runs: Sequence[Run]) -> str:
    """Runs as lines of COLUMNS and COUNTS; what is not known is empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for run in runs:
        shown, counts = _shown(run), run.counts or {}
        writer.writerow([*(shown[column] for column in COLUMNS), *(counts.get(column) for column in COUNTS)])
    return text.getvalue()


def csv_title() -> str:
    """The first line of a download as CSV."""
    return f"{','.join((*COLUMNS, *COUNTS))}\r\n"


def json_lines(runs: Sequence[Run]) -> str:
    """Runs as JSON, one a line."""
    return "".join(f"{json.dumps(_shown(run), ensure_ascii=False)}\n" for run in runs)


def routes(runs: TaskRuns) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def show(call: Call) -> Any:
        query = call.query
        wanted = RunFilter(
            query.get("task"), query.get("result"), query.get("since"), query.get("until"), query.get("schedule")
        )
        if query.get("format") == "csv":
            return await download(call.request, wanted, CSV, csv_title(), csv_lines)
        if query.get("format") == "jsonl":
            return await download(call.request, wanted, JSON_LINES, "", json_lines)
        before, most = page_of(call)
        found = await runs.log(wanted, before=before, most=most)
        return Page([_shown(run) for run in found], next_token([run.id for run in found], most))

    async def download(
        request: web.Request, wanted: RunFilter, kind: str, title: str, lines: Callable[[Sequence[Run]], str]
    ) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type, response.charset = kind, "utf-8"
        response.headers["Content-Disposition"] = f'attachment; filename="replication-runs.{kind.partition("/")[2]}"'
        # Read before it begins: from then on nothing can be refused any more.
        found = await runs.log(wanted, before=None, most=ROWS_AT_ONCE)
        await response.prepare(request)
        await response.write(title.encode())
        while found:
            await response.write(lines(found).encode())
            found = await runs.log(wanted, before=found[-1].id, most=ROWS_AT_ONCE)
        await response.write_eof()
        return response

    summary = "The log of runs, newest first."
    return (Route("GET", "/v1/replication-runs", summary, show, query=RunQuery, formats=(CSV, JSON_LINES)),)
