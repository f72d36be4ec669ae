"""A stamped block is recognised, and every kind of damage to it too."""

import pytest

from lab.stamp import BLOCK_BYTES, Stamp, decode, encode

STAMP = Stamp("run", 7, 42)


def test_a_block_says_what_it_was_given() -> None:
    block = encode(STAMP)
    assert len(block) == BLOCK_BYTES
    assert decode(block) == STAMP


def test_a_block_never_written_has_no_stamp() -> None:
    assert decode(bytes(BLOCK_BYTES)) is None


@pytest.mark.parametrize("sector", range(8))
def test_a_torn_block_is_refused(sector: int) -> None:
    older, newer = encode(Stamp("run", 7, 41)), encode(STAMP)
    torn = newer[: sector * 512] + older[sector * 512 : sector * 512 + 512] + newer[sector * 512 + 512 :]
    with pytest.raises(ValueError, match="sum"):
        decode(torn)


def test_a_run_name_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="longer"):
        encode(Stamp("x" * 17, 0, 1))
