"""Who is ahead, by the generations that `drbdsetup get-gi` prints."""

from __future__ import annotations

import pytest

from holdfast.hooks.replication import Lineage
from holdfast_rep_block.lineage import compare

FRESH = "0000000000000004:0000000000000000:0000000000000000:0000000000000000:0:0:0:0:0:0:0"
# Two sides that diverged, as real kernels said it.
A = "2BAB2A784B63DA37:723F166C78E40E78:0000000000000000:0000000000000000:1:1:1:0:0:0:0"
B = "AAB2BE29174C578F:723F166C78E40E78:0000000000000000:0000000000000000:1:1:1:0:0:0:0"


def gi(current: str, bitmap: str = "0", history: str = "0", older: str = "0") -> str:
    return f"{current}:{bitmap}:{history}:{older}:1:1:0:0:0:0:0"


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        (gi("A0"), gi("A0"), Lineage.EQUAL),
        (gi("A1"), gi("A0"), Lineage.EQUAL),
        (FRESH, FRESH, Lineage.EQUAL),
        (FRESH, gi("A0"), Lineage.BEHIND),
        (gi("A0"), FRESH, Lineage.AHEAD),
        (gi("A0"), gi("B0", "A0"), Lineage.BEHIND),
        (gi("B1", "A0"), gi("A0"), Lineage.AHEAD),
        (gi("A0"), gi("C0", "B0", "A0"), Lineage.BEHIND),
        (gi("C0", "0", "B0", "A1"), gi("A0"), Lineage.AHEAD),
        (A, B, Lineage.DIVERGED),
        (B, A, Lineage.DIVERGED),
        (gi("C0", "B0", "A0"), gi("D0", "E0", "A0"), Lineage.DIVERGED),
        (gi("A0"), gi("B0"), Lineage.UNRELATED),
        (gi("A0", "0"), gi("B0", "0"), Lineage.UNRELATED),
        ("", gi("A0"), Lineage.UNRELATED),
        (gi("A0"), "what is this", Lineage.UNRELATED),
    ],
)
def test_generations_tell_who_is_ahead(mine: str, theirs: str, expected: Lineage) -> None:
    assert compare(mine, theirs) is expected
