"""`/v1/groups/{group}/forecast` and `/v1/groups/{group}/decisions`."""

from __future__ import annotations

from typing import Any

from holdfast.api.jobs import LARGEST_PAGE
from holdfast.api.routes import Call, PageQuery, Route
from holdfast.services.groups.explanation import GroupExplanation
from holdfast.values import to_plain


def routes(explanation: GroupExplanation) -> tuple[Route, ...]:
    """The routes that explain a group."""

    async def forecast(call: Call) -> Any:
        view = await explanation.forecast(call.path["group"])
        items = [{"by": said.by, **to_plain(said.forecast)} for said in view.said]
        return {"items": items, "not_asked": view.not_asked}

    async def decisions(call: Call) -> Any:
        most = min(int(call.query["page_size"]), LARGEST_PAGE)
        view = await explanation.decisions(call.path["group"], call.query.get("page_token"), most)
        items = [{"number": number, **to_plain(decision)} for number, decision in view.decisions]
        return {"items": items, "next_page_token": view.next_page_token, "not_asked": view.not_asked}

    one = "/v1/groups/{group}"
    return (
        Route("GET", f"{one}/forecast", "What each fault would lead to now, as both nodes know it.", forecast),
        Route("GET", f"{one}/decisions", "What both nodes decided about it, and why.", decisions, query=PageQuery),
    )
