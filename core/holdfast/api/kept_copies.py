"""`/v1/replica-shares/{name}/copies` and `…/retention`: copies that are kept on the destination."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.routes import Call, ChangeQuery, Page, Route, Started
from holdfast.planning.copy_retention import RetentionRule
from holdfast.services.copies.kept import KeptCopies
from holdfast.services.copies.kept_documents import KeptCopy
from holdfast.services.snapshots.snapshots import RESERVE_PERCENT

MOST_OF_A_KIND = 366


class _Count(fields.Integer):
    """How many of a kind are kept."""

    def __init__(self) -> None:
        super().__init__(strict=True, load_default=0, validate=validate.Range(min=0, max=MOST_OF_A_KIND))


class CopyRetentionSchema(Schema):
    """What is kept after good runs. A copy stays if any of the counts wants it; all 0: nothing is kept from now on.

    `reserve_percent` of the volume is what may be overwritten while a copy is kept.
    """

    last = _Count()
    daily = _Count()
    weekly = _Count()
    monthly = _Count()
    reserve_percent = fields.Integer(strict=True, load_default=RESERVE_PERCENT, validate=validate.Range(min=1, max=110))


def _shown(copy: KeptCopy) -> dict[str, Any]:
    return {
        "snapshot": copy.snapshot.name,
        "frozen_at": copy.document.frozen_at,
        "task": copy.document.task,
        "source": copy.document.source,
        "volume": copy.snapshot.volume,
        "reserve_bytes": copy.snapshot.reserve_bytes,
        "used_percent": copy.snapshot.used_percent,
        "is_void": copy.snapshot.is_overflown,
    }


def routes(kept: KeptCopies) -> tuple[Route, ...]:
    """The routes of this noun."""

    async def show_all(call: Call) -> Page:
        return Page([_shown(copy) for copy in await kept.list(call.path["name"])])

    async def show_rule(call: Call) -> Any:
        found = await kept.rule(call.path["name"])
        return {**vars(found.rule), "reserve_percent": found.reserve_percent}

    async def set_rule(call: Call) -> Started:
        body = dict(call.body)
        percent = body.pop("reserve_percent")
        job, warnings = await kept.set_rule(
            call.path["name"], RetentionRule(**body), percent, validate_only=call.validate_only
        )
        return Started(job, warnings)

    one = "/v1/replica-shares/{name}"
    return (
        Route("GET", f"{one}/copies", "Verified copies that are kept, newest first.", show_all),
        Route("GET", f"{one}/retention", "What is kept after good runs.", show_rule),
        Route(
            "PUT",
            f"{one}/retention",
            "Say what is kept from the next good run on.",
            set_rule,
            body=CopyRetentionSchema,
            query=ChangeQuery,
            changes=True,
        ),
    )
