"""What a test may do to the model of two kernels: cut the wire, take the power, hold a resync."""

from __future__ import annotations

from holdfast.hooks.replication import ConnectionState, Role
from holdfast.testing.memory_drbd import World
from holdfast.testing.memory_drbd_link import finish_resync, lose_peer, try_to_connect


class Pair(World):
    """Two kernels and the replication wire between them, in a test's hands."""

    def cut_wire(self, *, noticed_by: tuple[str, ...] = ("a", "b")) -> None:
        """Cut the wire; only those named notice it now."""
        self.is_wire_up = False
        for name in noticed_by:
            self.notice(name)

    def notice(self, node: str) -> None:
        """The kernel of `node` finds its peer gone."""
        for side in list(self.nodes[node].sides.values()):
            if side.connection is ConnectionState.CONNECTED:
                lose_peer(side, ConnectionState.CONNECTING)

    def mend_wire(self) -> None:
        """Join the wire, and let whoever wants to connect."""
        self.is_wire_up = True
        for side in list(self.nodes["a"].sides.values()):
            other = self.nodes["b"].sides.get(side.name)
            # One that noticed and one that did not: the second learns it now.
            if other and side.connection is not other.connection:
                for each in (side, other):
                    if each.connection is ConnectionState.CONNECTED:
                        lose_peer(each, ConnectionState.CONNECTING)
            side.tell()
            try_to_connect(side)

    def power_off(self, node: str, *, noticed: bool = True) -> None:
        """Cut the power: the kernel's state is gone, the media stay."""
        gone = self.nodes[node]
        for side in gone.sides.values():
            for volume in side.volumes.values():
                if side.role is Role.PRIMARY:
                    volume.media.is_crashed_primary = True
                    volume.media.dirty |= volume.media.hot
        sides, gone.sides, gone.is_on = list(gone.sides.values()), {}, False
        for side in sides:
            side.tell()
        if noticed:
            self.notice(gone.other.name)

    def power_on(self, node: str) -> None:
        """Boot: no mirror is up."""
        self.nodes[node].is_on = True
        self.notice(self.nodes[node].other.name)

    def finish_resyncs(self) -> None:
        """Let resyncs under way end."""
        for side in self.nodes["a"].sides.values():
            for number in side.volumes:
                finish_resync(side, number)
