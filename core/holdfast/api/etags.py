"""`ETag` and `If-Match`: who changes a document may say which one it has seen.

The tag is of the intent on record, not of the whole answer: what the machine does beside it changes by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from holdfast.api.routes import Call, Route
from holdfast.errors import InvalidError, PreconditionError, Reason
from holdfast.store.intent import Revisions

# The path of one document, and the kind it is kept under; its name is the path's parameter, or both of them, with a
# slash between. What lies below another one's path stands before it.
NAMED: Mapping[str, str] = {
    "/v1/pools/{pool}": "pool",
    "/v1/volumes/{volume}/snapshot-schedules/{schedule}": "snapshot-schedule",
    "/v1/volumes/{volume}/snapshot-policy": "snapshot-policy",
    "/v1/volumes/{volume}": "volume",
    "/v1/snapshots/{volume}/{snapshot}": "snapshot",
    "/v1/shares/{share}/smb": "smb-offer",
    "/v1/shares/{share}/nfs": "nfs-offer",
    "/v1/shares/{share}": "share",
    "/v1/share-users/{name}": "share-user",
    "/v1/share-groups/{name}": "share-group",
    "/v1/replica-shares/{name}": "replica-share",
    "/v1/replication-tasks/{name}/schedules/{schedule}": "replication-schedule",
    "/v1/replication-tasks/{name}": "replication-task",
    "/v1/mirrors/{mirror}": "mirror",
    "/v1/targets/{target}": "target",
    "/v1/initiator-groups/{name}": "initiator-group",
    "/v1/groups/{group}": "group",
}
# There is one of each, under a name of its own.
SINGLE: Mapping[str, tuple[str, str]] = {
    "/v1/agent": ("agent", "agent"),
    "/v1/failover": ("failover", "links"),
    "/v1/discovery-auth": ("discovery", "discovery"),
}


def is_tagged(route: Route) -> bool:
    """Whether the route speaks of one document on record: its own, or an action of it."""
    return _document_path(route) is not None


def is_shown(route: Route) -> bool:
    """Whether it answers with the document, and thus with its tag."""
    return route.method == "GET" and _document_path(route) == route.path


def _document_path(route: Route) -> str | None:
    for path in (*NAMED, *SINGLE):
        if route.path == path or route.path.startswith(f"{path}/"):
            return path
    return None


class ETags:
    """Knows the tags of documents."""

    def __init__(self, revisions: Revisions) -> None:
        self._revisions = revisions

    async def of(self, route: Route, call: Call) -> str | None:
        """The tag of the route's document, without quotes; None where nothing is on record."""
        path = _document_path(route)
        assert path is not None, route.path
        if path in SINGLE:
            return await self._revisions.tag(*SINGLE[path])
        name = "/".join(call.path[parameter] for parameter in re.findall(r"{(\w+)}", path))
        return await self._revisions.tag(NAMED[path], name)

    async def check(self, route: Route, call: Call) -> None:
        """Raise PreconditionError unless the document is as `If-Match` says, InvalidError where that says nothing.

        A thing that is not there is the handler's to tell.
        """
        if "If-Match" not in call.request.headers or route.method == "GET":
            return
        if not is_tagged(route):
            text = f"{call.request.path} has no ETag that If-Match could name"
            raise InvalidError(text, reasons=[Reason("no-etag", text, "leave the header away", "If-Match")])
        wanted = call.request.if_match or ()
        tag = await self.of(route, call)
        if tag is None and _document_path(route) in NAMED:
            return
        # Strong comparison (RFC 9110, 8.8.3.2): a weak tag never matches.
        if tag is not None and any(each.value in (tag, "*") and not each.is_weak for each in wanted):
            return
        text = "it is not what it was when it was read: somebody changed it" if tag else "nothing is on record yet"
        remedy = "read it again, and decide anew"
        raise PreconditionError(text, reasons=[Reason("changed-meanwhile", text, remedy, "If-Match")])
