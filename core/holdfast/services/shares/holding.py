"""Clients that hold files of a share open, named in a refusal."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.errors import BusyError, Reason
from holdfast.hooks.share import ShareSession


def holding(session: ShareSession) -> Reason:
    """Who it is, and what he holds."""
    who = f"{session.user} at {session.client}" if session.user else session.client
    files = ", ".join(file.path for file in session.files[:5])
    more = f", and {len(session.files) - 5} more" if len(session.files) > 5 else ""
    what = f"holds open {files}{more}" if files else "is connected"
    return Reason("held", f"{who} {what}", "have it closed there")


def refuse_if_held(share: str, sessions: Sequence[ShareSession]) -> None:
    """Raise BusyError naming every client that holds a file open."""
    if reasons := [holding(session) for session in sessions if session.files]:
        how = Reason("confirm", "to go on disconnects them", f"repeat the call with ?confirm={share}", "confirm")
        raise BusyError(f"the share {share} is in use: {'; '.join(r.text for r in reasons)}", reasons=[*reasons, how])
