"""The abstract kernel does what the table says, as real ones do (`tests/lab/test_kernel_table.py`)."""

from __future__ import annotations

import pytest

from holdfast.hooks.replication import ConnectionState
from holdfast.testing import memory_drbd_roles
from holdfast.testing.memory_mirror_bed import MemoryMirrorBed
from holdfast.testing.mirror import eventually
from plugins.failover_vip.tests.kernel_table import TABLE, Replay, replay_on_model


def test_the_abstract_kernel_does_what_the_table_says() -> None:
    assert replay_on_model() == []


@pytest.mark.parametrize("number", range(len(TABLE)))
def test_each_row_is_compared(number: int) -> None:
    """The control: a row that says anything else is found."""
    rows = list(TABLE)
    rows[number] = rows[number]._replace(b="Secondary Inconsistent/UpToDate Connected")
    assert any(found.startswith(f"{number} ") for found in replay_on_model(tuple(rows)))


async def test_the_model_of_the_mirror_contract_does_what_the_table_says() -> None:
    bed = MemoryMirrorBed()
    name = bed.specs["a"].name

    async def outdate_plainly(node: str) -> None:
        memory_drbd_roles.outdate(bed.driver(node).node.side(name))

    for node in ("a", "b"):
        await bed.driver(node).create_metadata(bed.specs[node])
        await bed.driver(node).connect(bed.specs[node])
    await eventually(bed.driver("a"), name, lambda s: s.connection is ConnectionState.CONNECTED, bed.within_s)
    await bed.driver("a").skip_first_sync(name)
    await bed.driver("a").promote(name)
    await Replay(bed, outdate_plainly).run()
