"""Snapshots of thin volumes have no reserve: what a policy does for them when their thin pool fills."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.planning.snapshot_fill import OverflowAction, OverflowPolicy, Wait
from holdfast.planning.thin_pools import may_grow
from holdfast.planning.thin_snapshots import DropOf, ThinCandidate, decide
from holdfast.services.documents import PoolDocument
from holdfast.services.drivers import Drivers
from holdfast.store.intent import Intents


class ThinSnapshots:
    """Looks at a thin pool for its snapshots' sake."""

    def __init__(self, pools: Intents[PoolDocument], drivers: Drivers) -> None:
        self._pools = pools
        self._drivers = drivers

    async def decide(self, name: str, candidates: Sequence[ThinCandidate]) -> DropOf | Wait | None:
        """What is to be done for the thin pool of a pool; None while there is room."""
        pool, kept = await self._drivers.volume().get_pool(name), await self._pools.find(name)
        if pool.thin is None:
            return None
        grows_itself = kept is None or kept.document.grows_itself
        grows = may_grow(pool.thin, pool.free_bytes, pool.extent_bytes, grows_itself=grows_itself)
        return decide(pool.thin, candidates, grows_itself=grows)


def notice(policy: OverflowPolicy) -> str:
    """What a person is to know of a policy that is set where the snapshots are thin."""
    text = "snapshots of this volume are thin and have no reserve that could overflow"
    if policy.action is OverflowAction.DROP_OLDEST:
        return (
            f"{text}: when the thin pool is used to {policy.alert_percent} % and cannot grow, the oldest one that a "
            "schedule took and nothing needs is dropped; the rest of the policy does not apply"
        )
    return f"{text}: this policy does nothing for them; drop_oldest would serve when the thin pool fills"
