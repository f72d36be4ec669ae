from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest

from holdfast.errors import InvalidError
from holdfast.values import Secret, from_plain, to_plain


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    colour: Colour
    at: datetime | None = None


@dataclass(frozen=True)
class Outer:
    name: str
    count: int = 0
    ratio: float = 1.0
    is_on: bool = False
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    pair: tuple[str, int] = ("a", 1)
    by_name: dict[str, Inner] = field(default_factory=dict)
    anything: Any = None
    secret: Secret | None = None


FULL = Outer(
    name="n",
    count=3,
    ratio=0.5,
    is_on=True,
    inner=Inner(Colour.RED, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
    many=(Inner(Colour.BLUE), Inner(Colour.RED)),
    pair=("b", 2),
    by_name={"x": Inner(Colour.BLUE)},
    anything={"deep": [1, None, "x"]},
)


@pytest.mark.parametrize("value", [FULL, Outer("n"), Outer("ä\n\x00"), Outer("n", anything=[])])
def test_what_was_made_plain_comes_back_the_same_through_json(value: Outer) -> None:
    assert from_plain(Outer, json.loads(json.dumps(to_plain(value)))) == value


def test_a_secret_comes_back_only_where_it_was_revealed() -> None:
    value = dataclasses.replace(FULL, secret=Secret("tiger"))
    back = from_plain(Outer, json.loads(json.dumps(to_plain(value, reveal=True))))
    assert back.secret is not None
    assert (type(back.secret), back.secret.reveal()) == (Secret, "tiger")
    assert "tiger" not in json.dumps(to_plain(value))


def test_an_integer_is_a_ratio_but_no_ratio_is_an_integer() -> None:
    assert from_plain(Outer, {"name": "n", "ratio": 2}).ratio == 2.0
    assert type(from_plain(Outer, {"name": "n", "ratio": 2}).ratio) is float


@pytest.mark.parametrize(
    ("plain", "where"),
    [
        ({"nmae": "n"}, "nmae"),
        ({}, "name"),
        ([], "(the whole)"),
        (None, "(the whole)"),
        ({"name": 3}, "name"),
        ({"name": None}, "name"),
        ({"name": "n", "count": "3"}, "count"),
        ({"name": "n", "count": True}, "count"),
        ({"name": "n", "count": 1.0}, "count"),
        ({"name": "n", "ratio": True}, "ratio"),
        ({"name": "n", "is_on": 1}, "is_on"),
        ({"name": "n", "inner": {"colour": "green"}}, "inner.colour"),
        ({"name": "n", "inner": {"colour": "red", "at": "yesterday"}}, "inner.at"),
        ({"name": "n", "inner": {"colour": "red", "at": 3}}, "inner.at"),
        ({"name": "n", "inner": {"colour": "red", "more": 1}}, "inner.more"),
        ({"name": "n", "many": [{"colour": "red"}, {}]}, "many[1].colour"),
        ({"name": "n", "many": {"colour": "red"}}, "many"),
        ({"name": "n", "pair": ["a"]}, "pair"),
        ({"name": "n", "pair": ["a", "b"]}, "pair[1]"),
        ({"name": "n", "by_name": {"x": 3}}, "by_name.x"),
        ({"name": "n", "by_name": []}, "by_name"),
        ({"name": "n", "secret": 3}, "secret"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_path(plain: object, where: str) -> None:
    with pytest.raises(InvalidError) as raised:
        from_plain(Outer, plain)
    assert [reason.field for reason in raised.value.reasons] == [where]


def test_a_value_without_a_plain_form_is_a_fault_of_ours() -> None:
    for value in (object(), b"bytes", {"deep": [object()]}):
        with pytest.raises(TypeError, match="no plain form"):
            to_plain(value)


def test_sets_become_sorted_lists() -> None:
    assert to_plain(frozenset({"b", "a"})) == ["a", "b"]


def test_a_secret_shows_itself_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret("tiger")
    with caplog.at_level(logging.INFO):
        logging.getLogger("x").info("it is %s, %r", secret, {"password": secret})
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!s:>10}",
        f"{secret:>10}",
        "{}".format(secret),  # noqa: UP032 - the ways in which a text gets into another are what is tested
        "%s" % secret,  # noqa: UP031
        repr([secret]),
        repr(Outer("n", secret=secret)),
        str(dataclasses.asdict(Outer("n", secret=secret))),
        str(ValueError(secret)),
        repr(ValueError(secret)),
        json.dumps(to_plain({"a": [secret, (secret,)], "b": Outer("n", secret=secret)})),
        caplog.text,
    ]
    assert [text for text in shown if "tiger" in text] == []
    assert secret.reveal() == "tiger"
    assert type(secret.reveal()) is str
