"""Both sides of a new mirror made to read zero at the same time, so that the first sync can be skipped."""

from __future__ import annotations

import asyncio

from holdfast.services.documents import MirrorDocument
from holdfast.services.mirror_sides import MirrorSides
from holdfast.services.partner import VERY_SLOW_S, PartnerLink
from holdfast.services.steps import PROGRESS_EVERY_S, JobContext
from holdfast.values import to_plain


async def zero_both(job: JobContext, document: MirrorDocument, sides: MirrorSides, partner: PartnerLink) -> None:
    """Zero this node's side and the partner's, telling how far this one is. If one fails, so does the other.

    Each side's driver checks that it reads zero. Raises what it raises.
    """
    done = {member.volume: 0 for member in document.members}
    total_bytes = sum(member.size_bytes for member in document.members)
    body = {"mirror": to_plain(document)}

    def tell(volume: str, done_bytes: int, _size_bytes: int) -> None:
        done[volume] = done_bytes

    work = (
        asyncio.ensure_future(partner.call("mirror.zero", body, timeout_s=VERY_SLOW_S, job_id=job.job_id)),
        asyncio.ensure_future(sides.zero(document, tell)),
    )
    try:
        while not all(one.done() for one in work):
            await asyncio.wait(work, timeout=PROGRESS_EVERY_S, return_when=asyncio.FIRST_EXCEPTION)
            if failed := [one for one in work if one.done() and one.exception() is not None]:
                failed[0].result()
            zeroed_bytes = sum(done.values())
            text = f"{zeroed_bytes} of {total_bytes} bytes are zeroed on this node"
            await job.progress(zeroed_bytes / total_bytes * 100, text)
    finally:
        for one in work:
            one.cancel()
        # The error of the other one, too, is taken note of; the first is what is told.
        await asyncio.gather(*work, return_exceptions=True)


def proof(document: MirrorDocument) -> list[str]:
    """Why the first sync was not needed, in sentences."""
    return [
        f"every byte of {member.devices[node]} on {node} was zeroed by this job, before anybody had access"
        for member in document.members
        for node in sorted(member.devices)
    ]
