"""DRBD's options, all in one place, with their reasons and the inequalities between timers.

Units are DRBD's: `timeout` and `ping-timeout` are tenths of a second, `connect-int` and `ping-int` seconds,
rates KiB a second (drbdsetup-8.4(8), linux/drbd_limits.h).

    ping-timeout (0.5 s) < timeout (0.9 s) < ping-int = connect-int (1 s)
    idle dead peer noticed after ping-int + ping-timeout = 1.5 s
    dead peer noticed with writes in flight after timeout * ko-count = 2.7 s

The monitor's heartbeats are faster and force a disconnect; these are for the time when it is not there. A
`ko-count` product below 2 s would expel a peer whose disk is merely slow.

The network's options go by netlink (`connecting.py`), for with them goes the peers' secret.
"""

from __future__ import annotations

from holdfast.hooks.replication import MirrorEndpoint, SyncLimits
from holdfast.values import Secret
from holdfast_rep_block.genetlink import flag, text, u32
from holdfast_rep_block.settings import Settings

RESOURCE = (
    # Frozen, not failed: an initiator waits for a switchover instead of seeing an error.
    "--on-no-data-accessible=suspend-io",
)

# linux/drbd_genl.h, net_conf; drbd.h, enum drbd_after_sb_p.
_PROTOCOL_C = 3
_DISCONNECT = 0
_SECRET, _CRAM_HMAC = 1, 2


def net(secret: Secret | None) -> tuple[bytes, ...]:
    """Options of `connect`, encoded."""
    found = (
        u32(6, _PROTOCOL_C),
        u32(7, 1),  # connect-int
        u32(8, 9),  # timeout
        u32(9, 1),  # ping-int
        u32(10, 5),  # ping-timeout
        u32(13, 3),  # ko-count
        # The buffers limit a resync before its rate does: of no more than half of max-buffers, in pages, is there an
        # answer to be waited for, and it is asked each tenth of a second (drbd_worker.c:drbd_rs_number_requests).
        u32(14, 32768),  # max-buffers
        u32(15, 16384),  # max-epoch-size
        u32(11, 4194304),  # sndbuf-size
        u32(12, 4194304),  # rcvbuf-size
        # Diverged data is for a person to judge: any rule that discards by itself can delete acknowledged writes.
        u32(17, _DISCONNECT),  # after-sb-0pri
        u32(18, _DISCONNECT),  # after-sb-1pri
        u32(19, _DISCONNECT),  # after-sb-2pri
        u32(20, _DISCONNECT),  # rr-conflict
        flag(24, False),  # allow-two-primaries
        text(4, "crc32c"),  # verify-alg
        text(5, "crc32c"),  # csums-alg
    )
    if secret is None:
        return found
    return (*found, text(_CRAM_HMAC, "sha256"), text(_SECRET, secret.reveal()))


def rates(settings: Settings, limits: SyncLimits) -> tuple[str, ...]:
    """How fast a resync may be: a fixed rate; c-min-rate alone bounds what applications can take from it."""
    most = limits.max_bytes_s or settings.resync_max_bytes_s
    least = min(most, limits.min_bytes_s or settings.resync_min_bytes_s)
    return ("--c-plan-ahead=0", f"--resync-rate={most // 1024}", f"--c-min-rate={least // 1024}")


def disk(settings: Settings, limits: SyncLimits) -> tuple[str, ...]:
    """Options of `attach`. Flushes stay on, and there is no disk-timeout: the manual calls it dangerous."""
    return (
        # The only policy that freezes a Primary until its peer is known to be out (drbd_state.c:sanitize_state).
        "--fencing=resource-and-stonith",
        # A failing disk is left, and the peer's is used.
        "--on-io-error=detach",
        # The most that the standard activity log holds: fewer metadata writes.
        "--al-extents=6433",
        *rates(settings, limits),
    )


def address(endpoint: MirrorEndpoint) -> str:
    """An address in drbdsetup's words."""
    if ":" in endpoint.address:
        return f"ipv6:[{endpoint.address}]:{endpoint.port}"
    return f"ipv4:{endpoint.address}:{endpoint.port}"
