"""Restoring and verifying where a task leaves something out: that is neither counted, nor compared, nor touched."""

from __future__ import annotations

import pytest

from tests.composed.appliance import Appliance, Refused
from tests.composed.copies import REPLICA, TASK, home, make_copy, run, tree
from tests.composed.test_run_truth import spoil


@pytest.fixture
async def pair_of(nodes: tuple[Appliance, Appliance]) -> tuple[Appliance, Appliance]:
    """A source whose task leaves out what is temporary, and the node with its copy."""
    a, b = nodes
    await make_copy(a, b)
    filters = [{"pattern": "*.tmp", "is_included": False}, {"pattern": "/cache/", "is_included": False}]
    await a.change("PATCH", TASK, {"filters": filters})
    (home(a) / "cache").mkdir()
    (home(a) / "cache/one").write_text("of a")
    (home(a) / "work.tmp").write_text("of a")
    return nodes


async def test_what_is_left_out_is_not_counted_and_every_file_of_the_rest_is_compared(
    pair_of: tuple[Appliance, Appliance],
) -> None:
    a, b = pair_of
    assert (await run(a))["result"]["files_considered"] == 5
    assert (await a.change("POST", f"{TASK}/verify"))["result"]["files_verified"] == 3
    (home(b) / "other.tmp").write_text("of b")
    spoil(home(b) / "plan")
    with pytest.raises(Refused, match="plan differs in content"):
        await a.change("POST", f"{TASK}/verify")
    await run(a)
    assert tree(b)["plan"] == "the plan"
    assert tree(b)["other.tmp"] == "of b", "what is left out is left alone where it is mended"


async def test_a_fail_back_leaves_alone_what_is_not_in_the_copy_by_rule(pair_of: tuple[Appliance, Appliance]) -> None:
    a, b = pair_of
    await run(a)
    await b.change("POST", f"{REPLICA}/take-over")
    (home(b) / "plan").write_text("newer")
    (home(b) / "letters/one").unlink()
    await b.change("POST", f"{REPLICA}/fail-back?confirm=docs", {"returns": True})
    left = tree(a)
    assert (left["plan"], left["work.tmp"], left["cache/one"]) == ("newer", "of a", "of a")
    assert "letters/one" not in left
