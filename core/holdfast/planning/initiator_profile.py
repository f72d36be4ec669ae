"""What an initiator of Linux has to be set to, to go on at once after a takeover. Measured in `docs/targets.md`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.errors import UnsupportedError
from holdfast.hooks.target import Fabric, Portal, fabric_of


@dataclass(frozen=True)
class Setting:
    """One setting of a record of open-iscsi, by the name that `iscsiadm` takes. Values of time are in seconds."""

    name: str
    value: str
    why: str


@dataclass(frozen=True)
class InitiatorProfile:
    """The settings, and the commands that set them for a target. What else the record holds stays."""

    iqn: str
    settings: tuple[Setting, ...]
    commands: tuple[tuple[str, ...], ...]
    """Argument lists. None while the target has no address."""


SETTINGS = (
    Setting(
        "node.session.iscsi.DefaultTime2Wait",
        "0",
        "it connects again at once, not after 2 s; the larger of both sides' wishes counts, and the target's is 0",
    ),
    Setting(
        "node.session.timeo.replacement_timeout",
        "120",
        "so long it queues before whoever uses the disk sees an error; a node may have to boot meanwhile",
    ),
    Setting(
        "node.conn[0].timeo.login_timeout",
        "3",
        "a login that met a node about to let go is tried again after 3 s, not 15",
    ),
    Setting(
        "node.conn[0].timeo.noop_out_interval",
        "1",
        "after a second of silence it asks, not after 5: the node that has the address now then tells it to connect",
    ),
)


def initiator_profile(iqn: str, portals: Iterable[Portal]) -> InitiatorProfile:
    """The profile for a target. Raises UnsupportedError for one that no iSCSI initiator uses."""
    if fabric_of(iqn) is not Fabric.ISCSI:
        raise UnsupportedError(f"{iqn} is no target of iSCSI: its initiators have no such settings")
    commands: list[tuple[str, ...]] = []
    for portal in portals:
        address = f"[{portal.address}]" if ":" in portal.address else portal.address
        record = ("iscsiadm", "-m", "node", "-T", iqn, "-p", f"{address}:{portal.port}")
        commands.append((*record, "-o", "new"))
        commands += [(*record, "-o", "update", "-n", setting.name, "-v", setting.value) for setting in SETTINGS]
    return InitiatorProfile(iqn, SETTINGS, tuple(commands))
