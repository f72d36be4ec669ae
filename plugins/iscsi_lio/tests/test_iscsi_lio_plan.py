"""Trees and the steps between them, as tables."""

from __future__ import annotations

import pytest

from holdfast_iscsi_lio.plan import plan
from holdfast_iscsi_lio.tree import CORE, ISCSI, Attribute, Directory, Item, Link, Tree

SHORT = {
    "hba": f"{CORE}/iblock_5",
    "store": f"{CORE}/iblock_5/t.v",
    "tpg": f"{ISCSI}/iqn.x:t/tpgt_1",
    "lun": f"{ISCSI}/iqn.x:t/tpgt_1/lun/lun_1",
    "acl": f"{ISCSI}/iqn.x:t/tpgt_1/acls/iqn.x:c",
    "mapped": f"{ISCSI}/iqn.x:t/tpgt_1/acls/iqn.x:c/lun_1",
}


def path(short: str) -> str:
    head, _, tail = short.partition("/")
    return SHORT[head] + (f"/{tail}" if tail else "")


def tree(text: str) -> Tree:
    """`lun` is a directory, `lun/b>store` a link, `tpg/enable=1` an attribute."""
    items: list[Item] = []
    for word in text.split():
        if ">" in word:
            items.append(Link(path(word.split(">")[0]), path(word.split(">")[1])))
        elif "=" in word:
            items.append(Attribute(path(word.partition("=")[0]), word.partition("=")[2]))
        else:
            items.append(Directory(path(word)))
    return tuple(items)


def steps(actual: str, wanted: str) -> str:
    """The plan in the notation of the table: +make -remove >link ~unlink name=value."""
    names = {value: key for key, value in SHORT.items()}

    def short(full: str) -> str:
        best = max((value for value in names if full == value or full.startswith(f"{value}/")), key=len)
        return names[best] + full[len(best) :]

    signs = {"MakeDirectory": "+", "RemoveDirectory": "-", "MakeLink": ">", "RemoveLink": "~", "Write": ""}
    return " ".join(
        signs[type(step).__name__] + short(step.path) + (f"={step.value}" if hasattr(step, "value") else "")
        for step in plan(tree(actual), tree(wanted))
    )


STAGED = "hba store store/control=d1 tpg acl lun mapped store/enable=0 tpg/enable=0"
ACTIVE = (
    "hba store store/control=d1 tpg acl lun mapped store/enable=1 "
    "lun/b>store mapped/m>lun mapped/write_protect=0 tpg/enable=1"
)


@pytest.mark.parametrize(
    ("case", "actual", "wanted", "expected"),
    [
        ("nothing to nothing", "", "", ""),
        ("staged stays staged", STAGED, STAGED, ""),
        ("active stays active", ACTIVE, ACTIVE, ""),
        ("objects come in their order", "", STAGED, "+hba +store store/control=d1 +tpg +acl +lun +mapped"),
        (
            "serving begins with the device and ends with logins",
            STAGED,
            ACTIVE,
            "store/enable=1 >lun/b >mapped/m mapped/write_protect=0 tpg/enable=1",
        ),
        (
            "letting go begins with logins, closes the device, and stages again",
            ACTIVE,
            STAGED,
            "tpg/enable=0 ~mapped/m ~lun/b -store +store store/control=d1",
        ),
        (
            "removal is the reverse",
            ACTIVE,
            "",
            "tpg/enable=0 ~mapped/m ~lun/b -mapped -lun -acl -tpg -store -hba",
        ),
        (
            "an open backstore that differs is made afresh, with all that hangs on it",
            ACTIVE,
            ACTIVE.replace("d1", "d2"),
            "~mapped/m ~lun/b -store +store store/control=d2 store/enable=1 >lun/b >mapped/m mapped/write_protect=0",
        ),
        ("a closed backstore that differs is written", STAGED, STAGED.replace("d1", "d2"), "store/control=d2"),
        (
            "a closed backstore with a write cache is made afresh to lose it",
            STAGED.replace("d1", "f,fd_buffered_io=1"),
            STAGED.replace("d1", "f"),
            "-store +store store/control=f",
        ),
        (
            "one that keeps it is only opened",
            "store store/control=f,fd_buffered_io=1 store/enable=0",
            "store store/control=f,fd_buffered_io=1 store/enable=1",
            "store/enable=1",
        ),
        (
            "one without gets it by a write",
            STAGED.replace("d1", "f"),
            STAGED.replace("d1", "f,fd_buffered_io=1"),
            "store/control=f,fd_buffered_io=1",
        ),
        (
            "an open file that becomes larger is told so, and nothing else happens to it",
            ACTIVE.replace("d1", "fd_dev_name=/f,fd_dev_size=5"),
            ACTIVE.replace("d1", "fd_dev_name=/f,fd_dev_size=12"),
            "store/control=fd_dev_name=/f,fd_dev_size=12",
        ),
        (
            "the same of one with a write cache",
            ACTIVE.replace("d1", "fd_dev_name=/f,fd_dev_size=5,fd_buffered_io=1"),
            ACTIVE.replace("d1", "fd_dev_name=/f,fd_dev_size=12,fd_buffered_io=1"),
            "store/control=fd_dev_name=/f,fd_dev_size=12,fd_buffered_io=1",
        ),
        *(
            (
                f"one that {how} is made afresh",
                ACTIVE.replace("d1", "fd_dev_name=/f,fd_dev_size=12"),
                ACTIVE.replace("d1", control),
                f"~mapped/m ~lun/b -store +store store/control={control} store/enable=1 >lun/b >mapped/m "
                "mapped/write_protect=0",
            )
            for how, control in (
                ("becomes smaller", "fd_dev_name=/f,fd_dev_size=5"),
                ("is another file, and larger", "fd_dev_name=/g,fd_dev_size=13"),
                ("gets a write cache, too", "fd_dev_name=/f,fd_dev_size=13,fd_buffered_io=1"),
            )
        ),
        (
            "an open backstore that nothing links to is closed",
            "hba store store/enable=1",
            "hba store store/enable=0",
            "-store +store",
        ),
        (
            "a lost mapping comes back with its protection",
            ACTIVE.replace(" mapped/m>lun mapped/write_protect=0", ""),
            ACTIVE,
            ">mapped/m mapped/write_protect=0",
        ),
        (
            "a mapping to a LUN without backstore is renewed",
            ACTIVE.replace("lun/b>store ", "lun/other>store "),
            ACTIVE,
            "~mapped/m ~lun/other >lun/b >mapped/m mapped/write_protect=0",
        ),
        ("protection alone is written", ACTIVE, ACTIVE.replace("protect=0", "protect=1"), "mapped/write_protect=1"),
        ("attributes that nobody asked for are left", "tpg tpg/attrib/x=1", "tpg", ""),
    ],
    ids=lambda value: value if " " in str(value) and "/" not in str(value) else "",
)
def test_steps(case: str, actual: str, wanted: str, expected: str) -> None:
    assert steps(actual, wanted) == expected, case
