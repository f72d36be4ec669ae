"""The table of the abstract kernel, row by row on two real ones: what the search rests on is what DRBD does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.hooks.replication import ConnectionState
from holdfast.testing.mirror import eventually
from lab import Lab
from plugins.failover_vip.tests.kernel_table import TABLE, Replay
from tests.lab.mirror_remote import LabMirrorBed, NodeAgent

pytestmark = [pytest.mark.lab(seconds=40), pytest.mark.timeout(150)]

DRBDSETUP = "/usr/lib/drbd/drbdsetup-84"


@pytest.fixture
def mirror_bed(lab_bed: Lab) -> Iterator[LabMirrorBed]:
    agents: dict[str, NodeAgent] = {}
    bed = LabMirrorBed(lab_bed, agents)
    bed.make_blank()
    yield bed
    for name, agent in agents.items():
        print(f"--- agent of {name}\n{agent.stderr[-2000:]}")


async def in_sync(bed: LabMirrorBed) -> None:
    name = bed.specs["a"].name
    for node in ("a", "b"):
        await bed.driver(node).zero(bed.data)
        await bed.driver(node).create_metadata(bed.specs[node])
        await bed.driver(node).connect(bed.specs[node])
    await eventually(bed.driver("a"), name, lambda s: s.connection is ConnectionState.CONNECTED, bed.within_s)
    await bed.driver("a").skip_first_sync(name)
    await eventually(bed.driver("b"), name, lambda s: s.is_in_sync, bed.within_s)
    await bed.driver("a").promote(name)


async def test_real_kernels_do_what_the_table_says(mirror_bed: LabMirrorBed) -> None:
    async def outdate_plainly(node: str) -> None:
        plain = mirror_bed.lab.node(node).run([DRBDSETUP, "outdate", "0"])
        assert plain.returncode == 0

    await in_sync(mirror_bed)
    replay = Replay(mirror_bed, outdate_plainly)
    try:
        await replay.run()
    finally:
        print("\n".join(replay.told))
    assert len(replay.told) == len(TABLE)
