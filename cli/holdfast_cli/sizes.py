"""Sizes as people write them, unambiguous or refused."""

from __future__ import annotations

import re

import click

_FACTORS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_BINARY = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<prefix>[KMGTP])(?:iB)?\Z")
_DECIMAL = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<prefix>[kKMGTP])B\Z")
_BARE = re.compile(r"\d+(?:\.\d+)?\Z")


def parse_size(text: str) -> int:
    """Bytes of `10GiB` or `10G`, both binary. Raises ValueError with a hint for everything else."""
    if match := _BINARY.match(text):
        whole, _, fraction = match["number"].partition(".")
        factor = _FACTORS[match["prefix"]]
        # In whole numbers: a float is not exact above 8 PiB.
        size_bytes, rest = divmod(int(whole + fraction) * factor, int(10 ** len(fraction)))
        if rest:
            raise ValueError(f"{text} is not a whole number of bytes")
        return size_bytes
    if match := _DECIMAL.match(text):
        number, prefix = match["number"], match["prefix"].upper()
        raise ValueError(f"{text} may mean two sizes: write {number}{prefix}iB, in powers of 1024")
    if _BARE.match(text):
        raise ValueError(f"{text} has no unit: write {text}GiB or {text}MiB")
    raise ValueError(f"{text} is not a size: write one such as 10GiB or 512MiB")


def show_size(size_bytes: int) -> str:
    """The size with the largest fitting unit, and exactly: `1.5 GiB (1610612736 bytes)`."""
    for prefix, factor in reversed(_FACTORS.items()):
        if abs(size_bytes) >= factor:
            return f"{size_bytes / factor:.4g} {prefix}iB ({size_bytes} bytes)"
    return f"{size_bytes} bytes"


class Size(click.ParamType[int]):
    """The type of an option that takes a size."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click.ParamType."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(str(value))
        except ValueError as reason:
            self.fail(str(reason), param, ctx)
