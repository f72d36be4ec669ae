"""A side that was without a disk while the partner went on is not brought back to a partner that lost its disk since.

The kernel of a side that was booted meanwhile knows nothing of it: connected to a diskless peer it would take its own
old data for UpToDate, and what was acknowledged in between would be gone.
"""

from __future__ import annotations

from holdfast.errors import HoldfastError, Reason
from holdfast.hooks.replication import ConnectionState, MirrorStatus
from holdfast.services.mirrors.history import MirrorHistories
from holdfast.services.mirrors.torn import WHOLE
from holdfast.services.partner import PartnerLink
from holdfast.values import from_plain


async def why_held(status: MirrorStatus, histories: MirrorHistories, partner: PartnerLink) -> Reason | None:
    """Why this side must wait for the partner's disk; None if it may connect, or is connected."""
    if status.connection is ConnectionState.CONNECTED or (await histories.get(status.name)).behind_since is None:
        return None
    try:
        there = from_plain(MirrorStatus, await partner.call("mirror.status", {"name": status.name}))
    except HoldfastError as reason:
        why = f"does not answer: {reason.message}"
    else:
        if there.is_up and all(volume.disk in WHOLE for volume in there.volumes):
            return None
        why = "does not have its disk"
    text = f"the mirror {status.name} was without a disk here while {partner.name} went on, and {partner.name} {why}"
    remedy = f"bring the disk of {partner.name} back and start the mirror there: it has what was written since"
    return Reason("behind", text, remedy)
