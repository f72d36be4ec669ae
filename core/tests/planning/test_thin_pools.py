from __future__ import annotations

import pytest

from holdfast.hooks.pools import ThinPool
from holdfast.planning.thin_pools import Care, look_after, refuse_promise

MIB = 1 << 20
EXTENT = 4 * MIB


def thin(data: float | None = 0.0, metadata: float | None = 0.0, promised_mib: int = 0) -> ThinPool:
    return ThinPool(100 * MIB, data, 8 * MIB, metadata, promised_mib * MIB)


@pytest.mark.parametrize(
    ("found", "more_mib", "most_percent", "codes"),
    [
        (thin(), 100, 100, []),
        (thin(), 101, 100, ["promised"]),
        (thin(promised_mib=60), 40, 100, []),
        (thin(promised_mib=60), 41, 100, ["promised"]),
        (thin(promised_mib=60), 240, 300, []),
        (thin(promised_mib=60), 241, 300, ["promised"]),
        (thin(89.9, 89.9), 1, 100, []),
        (thin(90.0, 0.0), 1, 100, ["thin-pool-full"]),
        (thin(0.0, 90.0), 1, 100, ["thin-pool-full"]),
        (thin(95.0, 95.0, 100), 1, 100, ["thin-pool-full", "thin-pool-full", "promised"]),
        (thin(None, None), 100, 100, []),
    ],
)
def test_a_thin_pool_promises_no_more_than_it_may(
    found: ThinPool, more_mib: int, most_percent: int, codes: list[str]
) -> None:
    assert [reason.code for reason in refuse_promise(found, more_mib * MIB, most_percent)] == codes


def test_what_is_missing_of_a_promise_is_counted() -> None:
    (reason,) = refuse_promise(thin(promised_mib=60), 50 * MIB, 100)
    assert f"{10 * MIB} bytes are missing" in reason.text


@pytest.mark.parametrize(
    ("found", "free_mib", "grows", "wanted"),
    [
        (thin(79.9, 79.9), 100, True, Care()),
        (thin(None, None), 100, True, Care()),
        (thin(80.0, 0.0), 100, True, Care(size_bytes=120 * MIB)),
        (thin(80.0, 0.0), 20, True, Care(size_bytes=120 * MIB)),
        # A fifth of 8 MiB, in whole extents, and as much again for the spare.
        (thin(0.0, 80.0), 8, True, Care(metadata_bytes=12 * MIB)),
        (thin(85.0, 85.0), 28, True, Care(120 * MIB, 12 * MIB)),
    ],
)
def test_a_thin_pool_that_fills_up_grows_while_its_pool_has_room(
    found: ThinPool, free_mib: int, grows: bool, wanted: Care
) -> None:
    assert look_after(found, free_mib * MIB, EXTENT, grows_itself=grows) == wanted


@pytest.mark.parametrize(
    ("found", "free_mib", "grows", "sized", "words"),
    [
        (thin(80.0), 100, False, (None, None), ["does not grow by itself"]),
        (thin(80.0), 19, True, (None, None), ["extend the pool"]),
        (thin(0.0, 80.0), 7, True, (None, None), ["extend the pool"]),
        # Metadata gets what there is: without it the whole thin pool fails.
        (thin(85.0, 85.0), 27, True, (None, 12 * MIB), ["the room for data"]),
        (thin(100.0, 100.0), 0, True, (None, None), ["metadata", "data"]),
    ],
)
def test_a_person_is_told_what_a_thin_pool_cannot_do_for_itself(
    found: ThinPool, free_mib: int, grows: bool, sized: tuple[int | None, int | None], words: list[str]
) -> None:
    care = look_after(found, free_mib * MIB, EXTENT, grows_itself=grows)
    assert (care.size_bytes, care.metadata_bytes) == sized
    assert len(care.told) == len(words)
    assert all(word in text for word, text in zip(words, care.told, strict=True))
