"""Runs in a node: the product's monitor, which wakes no client while `/run/no-tickle` is there.

python -m benchmarks.monitor_that_may_not_wake --config FILE
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from pathlib import Path
from unittest.mock import patch

from holdfast.monitor.__main__ import main
from holdfast_failover_vip import serving
from holdfast_failover_vip.tickle import tickle

ASLEEP = Path("/run/no-tickle")


def tickle_unless_asleep(
    virtual_addresses: Iterable[str], port: int, clients: Iterable[tuple[str, int]]
) -> Coroutine[None, None, None]:
    """What the monitor does, or the same for no client."""
    return tickle(virtual_addresses, port, () if ASLEEP.exists() else clients)


if __name__ == "__main__":
    with patch.object(serving, "tickle", tickle_unless_asleep):
        main()
