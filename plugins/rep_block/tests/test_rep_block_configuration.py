"""What `drbdsetup show` printed on a real kernel."""

from __future__ import annotations

from holdfast.hooks.replication import MirrorEndpoint
from holdfast_rep_block.configuration import ConfiguredVolume, parse

CONNECTED = """\
resource r0 {
    options {
        on-no-data-accessible	suspend-io;
    }
    net {
        timeout         	9; # 1/10 seconds
        csums-alg       	"crc32c";
    }
    _remote_host {
        address			ipv4 10.77.2.12:7790;
    }
    _this_host {
        address			ipv4 10.77.2.11:7790;
        volume 0 {
            device			minor 0;
            disk			"/dev/mapper/d0";
            meta-disk			"/dev/mapper/m0";
            disk {
                fencing         	resource-and-stonith;
                resync-rate     	4194304k; # bytes/second
            }
        }
        volume 1 {
            device			minor 7;
        }
    }
}
"""


def test_disks_and_addresses_are_found() -> None:
    found = parse(CONNECTED)
    assert found.local == MirrorEndpoint("10.77.2.11", 7790)
    assert found.remote == MirrorEndpoint("10.77.2.12", 7790)
    assert found.volumes == (
        ConfiguredVolume(0, 0, "/dev/mapper/d0", "/dev/mapper/m0"),
        ConfiguredVolume(1, 7, None, None),
    )


def test_without_a_peer_there_is_no_address() -> None:
    alone = CONNECTED[: CONNECTED.index("    _remote_host")] + CONNECTED[CONNECTED.index("    _this_host") :]
    found = parse(alone.replace("        address			ipv4 10.77.2.11:7790;\n", ""))
    assert (found.local, found.remote) == (None, None)
    assert len(found.volumes) == 2


def test_an_ipv6_address_loses_its_brackets() -> None:
    found = parse(CONNECTED.replace("ipv4 10.77.2.12:7790", "ipv6 [fd00::12]:7790"))
    assert found.remote == MirrorEndpoint("fd00::12", 7790)
