from __future__ import annotations

from dataclasses import replace

from holdfast.hooks.failover import Decision
from holdfast.hooks.forecast import Fault, Forecast
from holdfast.planning.explanation import in_order, joined

CUT = Forecast(Fault.ACTIVE_POWER, "a is cut", ("b",), "b", True, 350, "bring a back", "b takes over", (), ())
LINK = replace(CUT, fault=Fault.REPLICATION_LINK, text="the link is cut", deciders=("a", "b"), serves="a")


def decision(node: str, second: int) -> Decision:
    return Decision(f"2026-01-01T00:00:{second:02d}+00:00", node, "g", f"{node} {second}", {})


def test_who_decides_nothing_then_has_no_say() -> None:
    other = replace(CUT, serves=None)
    (said,) = joined({"a": [other], "b": [CUT]})
    assert (said.by, said.forecast) == (("b",), CUT)


def test_where_nobody_with_a_say_can_be_asked_the_others_are_heard() -> None:
    (said,) = joined({"a": [CUT]})
    assert (said.by, said.forecast) == (("a",), CUT)


def test_what_both_say_alike_is_there_once_in_the_words_of_who_serves() -> None:
    (said,) = joined({"b": [replace(LINK, sentence="b says")], "a": [replace(LINK, sentence="a says")]})
    assert (said.by, said.forecast.sentence) == (("a", "b"), "a says")


def test_what_both_say_otherwise_is_there_twice_and_faults_have_their_order() -> None:
    said = joined({"a": [LINK, CUT], "b": [replace(LINK, serves=None, held_at_least_ms=None), CUT]})
    assert [(item.by, item.forecast.fault, item.forecast.serves) for item in said] == [
        (("b",), Fault.ACTIVE_POWER, "b"),
        (("a",), Fault.REPLICATION_LINK, "a"),
        (("b",), Fault.REPLICATION_LINK, None),
    ]


def test_decisions_are_ordered_by_the_clock_but_never_against_their_own_nodes_order() -> None:
    a = [(1, decision("a", 5)), (2, decision("a", 3)), (3, decision("a", 9))]
    b = [(7, decision("b", 4)), (8, decision("b", 6))]
    ordered = [found.sentence for _, found in in_order({"b": b, "a": a}, 10)]
    assert ordered == ["b 4", "a 5", "a 3", "b 6", "a 9"]
    assert [found.sentence for _, found in in_order({"b": b, "a": a}, 2)] == ["b 4", "a 5"]
    assert in_order({"a": []}, 5) == ()
