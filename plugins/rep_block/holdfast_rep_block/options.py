"""DRBD's options, all in one place, with their reasons and the inequalities between timers.

Units are DRBD's: `timeout` and `ping-timeout` are tenths of a second, `connect-int` and `ping-int` seconds,
rates KiB a second (drbdsetup-8.4(8), linux/drbd_limits.h).

    ping-timeout (0.5 s) < timeout (0.9 s) < ping-int = connect-int (1 s)
    idle dead peer noticed after ping-int + ping-timeout = 1.5 s
    dead peer noticed with writes in flight after timeout * ko-count = 2.7 s

The monitor's heartbeats are faster and force a disconnect; these are for the time when it is not there. A
`ko-count` product below 2 s would expel a peer whose disk is merely slow.

`cram-hmac-alg` is left out on purpose: its secret can only be given in the argument list of
drbdsetup, which every user of the node can read. The replication network is to be a private one.
"""

from __future__ import annotations

from holdfast.hooks.replication import MirrorEndpoint
from holdfast_rep_block.settings import Settings

RESOURCE = (
    # Frozen, not failed: an initiator waits for a switchover instead of seeing an error.
    "--on-no-data-accessible=suspend-io",
)

NET = (
    "--protocol=C",
    "--ping-int=1",
    "--ping-timeout=5",
    "--timeout=9",
    "--ko-count=3",
    "--connect-int=1",
    # The buffers limit a resync before its rate does: five times faster than with the defaults.
    "--max-buffers=16384",
    "--max-epoch-size=16384",
    "--sndbuf-size=4194304",
    "--rcvbuf-size=4194304",
    # Corked, synchronous writes wait for more to send.
    "--tcp-cork=no",
    # Diverged data is for a person to judge: any rule that discards by itself can delete acknowledged writes.
    "--after-sb-0pri=disconnect",
    "--after-sb-1pri=disconnect",
    "--after-sb-2pri=disconnect",
    "--rr-conflict=disconnect",
    "--allow-two-primaries=no",
    "--verify-alg=crc32c",
    "--csums-alg=crc32c",
)


def disk(settings: Settings) -> tuple[str, ...]:
    """Options of `attach`. Flushes stay on, and there is no disk-timeout: the manual calls it dangerous."""
    return (
        # The only policy that freezes a Primary until its peer is known to be out (drbd_state.c:sanitize_state).
        "--fencing=resource-and-stonith",
        # A failing disk is left, and the peer's is used.
        "--on-io-error=detach",
        # The most that the standard activity log holds: fewer metadata writes.
        "--al-extents=6433",
        # A fixed rate; c-min-rate alone bounds what applications can take from it.
        "--c-plan-ahead=0",
        f"--resync-rate={settings.resync_max_bytes_s // 1024}",
        f"--c-min-rate={settings.resync_min_bytes_s // 1024}",
    )


def address(endpoint: MirrorEndpoint) -> str:
    """An address in drbdsetup's words."""
    if ":" in endpoint.address:
        return f"ipv6:[{endpoint.address}]:{endpoint.port}"
    return f"ipv4:{endpoint.address}:{endpoint.port}"
