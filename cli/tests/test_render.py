from __future__ import annotations

from typing import Any

from holdfast_cli.render import details, problem, table


def test_a_table_has_aligned_columns_and_leaves_out_what_no_item_has() -> None:
    items: list[dict[str, Any]] = [
        {"name": "v1", "size_bytes": 2**30, "pool": {"name": "p"}},
        {"name": "volume2", "size_bytes": None},
    ]

    assert list(table(items, ("name", "label", "size_bytes", "pool.name"))) == [
        "NAME     SIZE   NAME",
        "v1       1 GiB  p",
        "volume2  -      -",
    ]


def test_details_show_nested_documents_set_in() -> None:
    document = {"name": "m1", "is_active": True, "volumes": ["v1", "v2"], "sides": [{"node": "a", "disk": None}]}

    assert list(details(document)) == [
        "name: m1",
        "is_active: yes",
        "volumes: v1, v2",
        "sides:",
        "  - node: a",
        "    disk: -",
    ]


def test_a_problem_shows_each_reason_with_its_field_and_remedy() -> None:
    document = {
        "detail": "group g1 cannot start",
        "code": "refused",
        "reasons": [
            {"code": "no-ping", "text": "the ping node is silent", "remedy": "name another", "field": None},
            {"code": "bad", "text": "too long", "remedy": "shorten it", "field": "name"},
        ],
    }

    assert list(problem(document)) == [
        "group g1 cannot start (refused)",
        "  - the ping node is silent",
        "    remedy: name another",
        "  - name: too long",
        "    remedy: shorten it",
    ]


def test_what_a_name_holds_does_not_steer_the_terminal() -> None:
    hostile = "v\x1b[2J\r\n1"

    printed = [
        *details({"label": hostile}),
        *table([{"label": hostile}], ("label",)),
        *problem({"detail": hostile, "reasons": [{"text": hostile, "remedy": hostile}]}),
    ]

    assert all(line.isprintable() for line in printed)
