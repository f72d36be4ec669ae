from __future__ import annotations

import pytest

from holdfast_cli.sizes import parse_size, show_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("10GiB", 10 * 2**30),
        ("10G", 10 * 2**30),
        ("10 GiB", 10 * 2**30),
        ("512MiB", 512 * 2**20),
        ("64K", 65536),
        ("1.5T", 3 * 2**39),
        ("2P", 2**51),
        ("0.001G", None),
        ("9007199254740993K", 9007199254740993 * 1024),
    ],
)
def test_a_size_is_binary_exact_or_refused(text: str, size_bytes: int | None) -> None:
    if size_bytes is None:
        with pytest.raises(ValueError, match="whole number of bytes"):
            parse_size(text)
    else:
        assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10GB", "write 10GiB"),
        ("10kB", "write 10KiB"),
        ("10", "write 10GiB or 10MiB"),
        ("1.5", "write 1.5GiB"),
    ],
)
def test_an_ambiguous_size_is_refused_with_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "G", "-1G", "10 G iB", "10g", "1e3G", "10GiB\n", "١G ", "10gib", "0x10G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (10 * 2**30, "10 GiB (10737418240 bytes)"),
        (3 * 2**29, "1.5 GiB (1610612736 bytes)"),
        (1023, "1023 bytes"),
        (0, "0 bytes"),
    ],
)
def test_a_size_is_shown_rounded_and_exact(size_bytes: int, text: str) -> None:
    assert show_size(size_bytes) == text
