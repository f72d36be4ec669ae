"""Initiators and their passwords, as options of targets, groups of initiators and discovery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from holdfast_cli.options import read_secret

Chap = tuple[tuple[str, str, str], ...]
Mutual = tuple[tuple[str, str, str, str, str], ...]


def access_options(function: Callable[..., None]) -> Callable[..., None]:
    """`--allow`, `--allow-chap` and `--allow-mutual`."""
    plain = click.option("--allow", "allowed", multiple=True, metavar="IQN", help="An initiator without a password.")
    chap = click.option(
        "--allow-chap",
        "chap",
        nargs=3,
        type=(str, str, str),
        multiple=True,
        metavar="IQN USER FILE|-",
        help="An initiator, its CHAP user, and the file with the password.",
    )
    mutual = click.option(
        "--allow-mutual",
        "mutual",
        nargs=5,
        type=(str, str, str, str, str),
        multiple=True,
        metavar="IQN USER FILE TARGET_USER FILE",
        help="The same, and by what the target proves itself to it.",
    )
    depth = click.option(
        "--depth", "depth", type=int, metavar="COMMANDS", help="How many commands each may have under way; 64."
    )
    return plain(chap(mutual(depth(function))))


def access_of(allowed: tuple[str, ...], chap: Chap, mutual: Mutual, depth: int | None) -> list[dict[str, Any]]:
    """The request's list of initiators."""
    found: list[dict[str, Any]] = [{"initiator": initiator, "chap": None} for initiator in allowed]
    found += [{"initiator": initiator, "chap": chap_of(user, file)} for initiator, user, file in chap]
    found += [{"initiator": item[0], "chap": chap_of(*item[1:])} for item in mutual]
    return [item if depth is None else item | {"cmdsn_depth": depth} for item in found]


def chap_of(user: str, file: str, mutual_user: str | None = None, mutual_file: str | None = None) -> dict[str, Any]:
    """Credentials, the passwords read from files."""
    credentials = {"user": user, "password": read_secret(file)}
    if mutual_user is not None and mutual_file is not None:
        credentials |= {"mutual_user": mutual_user, "mutual_password": read_secret(mutual_file)}
    return credentials
