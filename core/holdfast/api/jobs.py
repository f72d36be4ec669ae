"""`/v1/jobs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.api.routes import Call, Page, PageQuery, Route, job_document
from holdfast.services.jobs import Jobs

LARGEST_PAGE = 1000


def page_of(call: Call) -> tuple[int | None, int]:
    """Where a page begins (the number of the last item seen) and how many items it has."""
    token = call.query.get("page_token")
    return (None if token is None else int(token)), min(int(call.query["page_size"]), LARGEST_PAGE)


def next_token(numbers: Sequence[int], most: int) -> str | None:
    """The token of the next page of a list that goes down in numbers."""
    return str(numbers[-1]) if len(numbers) == most else None


def routes(jobs: Jobs) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def show_all(call: Call) -> Page:
        before, most = page_of(call)
        records = await jobs.newest(before=before, most=most)
        return Page([job_document(r) for r in records], next_token([r.number for r in records], most))

    async def show(call: Call) -> Any:
        return job_document(await jobs.get(call.path["job"]))

    async def cancel(call: Call) -> Any:
        await jobs.cancel(call.path["job"])
        return job_document(await jobs.get(call.path["job"]))

    return (
        Route("GET", "/v1/jobs", "Jobs, newest first.", show_all, query=PageQuery),
        Route("GET", "/v1/jobs/{job}", "One job.", show),
        Route("POST", "/v1/jobs/{job}/cancel", "Stop a job and undo what it did.", cancel, status=202),
    )
