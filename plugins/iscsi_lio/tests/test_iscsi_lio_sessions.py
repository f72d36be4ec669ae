"""Who is logged in, parsed from what Linux 6.1 showed."""

from __future__ import annotations

import sys

import pytest

from holdfast.hooks.target import Portal, TargetSession
from holdfast_iscsi_lio.sessions import Connection, join, parse_info, parse_tcp, read_sessions
from plugins.iscsi_lio.tests.fake_configfs import ISCSI, FakeConfigfs

INFO = """InitiatorName: iqn.2026-01.org.holdfast.lab:x
InitiatorAlias: x
LIO Session ID: 1   ISID: 0x00 02 3d 00 00 03  TSIH: 3  SessionType: Normal
Session State: TARG_SESS_STATE_LOGGED_IN
---------------------[iSCSI Session Values]-----------------------
  CmdSN/WR  :  CmdSN/WC  :  ExpCmdSN  :  MaxCmdSN  :     ITT    :     TTT
 0x00000040   0x00000040   0x00000018   0x00000057   0x00000018   0x00000018
----------------------[iSCSI Connections]-------------------------
CID: 0  Connection State: TARG_CONN_STATE_LOGGED_IN
   Address 127.0.0.1 TCP  StatSN: 0x87dc5e06
"""
TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100630A:0CBC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 105 1 00000000bddba2b1 100
   2: 0100007F:0CBC 0100007F:E816 06 00000000:00000000 03:00001746 00000000     0        0 0 3 00000000d443c57e
   4: 0100007F:0CBC 0100007F:E81C 01 00000000:00000000 00:00000000 00000000     0        0 307 1 000000006403f5cc 21
"""
TCP6 = """  sl  local_address                         remote_address                        st tx_queue
   0: 000000FD000000000000000001000000:0CBC 000000FD000000000000000002000000:9C40 01 0
"""


def at(address: str, port: int) -> Connection:
    return Connection(Portal("10.0.0.1"), Portal(address, port))


def test_the_address_of_a_session_is_found() -> None:
    assert parse_info(INFO) == ("127.0.0.1",)


def test_an_initiator_that_is_not_logged_in_has_no_address() -> None:
    assert parse_info("No active iSCSI Session for Initiator Endpoint: iqn.2026-01.org.holdfast.lab:x\n") == ()


@pytest.mark.skipif(sys.byteorder != "little", reason="the sample is a little-endian kernel's")
def test_only_established_connections_are_taken_from_the_table() -> None:
    assert parse_tcp(TCP) == (Connection(Portal("127.0.0.1", 3260), Portal("127.0.0.1", 59420)),)


@pytest.mark.skipif(sys.byteorder != "little", reason="the sample is a little-endian kernel's")
def test_addresses_of_version_6_are_put_together_word_by_word() -> None:
    assert parse_tcp(TCP6) == (Connection(Portal("fd00::1", 3260), Portal("fd00::2", 40000)),)


@pytest.mark.parametrize(
    ("addresses", "connections", "expected"),
    [
        ({"i": ()}, [at("10.0.0.7", 1)], []),
        ({"i": ("10.0.0.7",)}, [], [("i", "10.0.0.7", None)]),
        ({"i": ("10.0.0.7",)}, [at("10.0.0.7", 1), at("10.0.0.8", 2)], [("i", "10.0.0.7", 1)]),
        ({"i": ("10.0.0.7",)}, [at("10.0.0.7", 2), at("10.0.0.7", 1)], [("i", "10.0.0.7", 1), ("i", "10.0.0.7", 2)]),
        (
            {"j": ("10.0.0.7",), "i": ("10.0.0.7",)},
            [at("10.0.0.7", 1), at("10.0.0.7", 2), at("10.0.0.7", 3)],
            [("i", "10.0.0.7", 1), ("j", "10.0.0.7", 2), ("j", "10.0.0.7", 3)],
        ),
        (
            {"i": ("10.0.0.7",), "j": ("10.0.0.8",)},
            [at("10.0.0.8", 5), at("10.0.0.7", 4)],
            [("i", "10.0.0.7", 4), ("j", "10.0.0.8", 5)],
        ),
    ],
    ids=["not logged in", "no socket seen", "other clients", "two connections", "one address", "two addresses"],
)
def test_ports_are_joined_to_initiators_by_address(
    addresses: dict[str, tuple[str, ...]],
    connections: list[Connection],
    expected: list[tuple[str, str, int | None]],
) -> None:
    assert join(addresses, connections) == tuple(TargetSession(*row) for row in expected)


ACL = f"{ISCSI}/iqn.x:t/tpgt_1/acls/iqn.x:c"


def test_a_session_has_what_the_kernel_counts_of_it() -> None:
    kernel = FakeConfigfs()
    kernel.put(f"{ACL}/info", INFO)
    for name, value in (("cmd_pdus", "7"), ("txdata_octs", "4096"), ("rxdata_octs", "0")):
        kernel.put(f"{ACL}/fabric_statistics/iscsi_sess_stats/{name}", value)
    for lun, value in (("lun_1", "2"), ("lun_2", "3")):
        kernel.put(f"{ACL}/{lun}/statistics/scsi_auth_intr/write_mbytes", value)
    [session] = read_sessions(kernel, "iqn.x:t")
    assert session == TargetSession("iqn.x:c", "127.0.0.1", None, "1.3", 7, 4096, 5 << 20)


def test_what_the_kernel_does_not_count_is_not_known() -> None:
    kernel = FakeConfigfs()
    kernel.put(f"{ACL}/info", INFO)
    [session] = read_sessions(kernel, "iqn.x:t")
    assert (session.commands, session.read_bytes, session.written_bytes) == (None, None, None)


def test_who_came_in_by_an_open_export_has_a_name_only() -> None:
    kernel = FakeConfigfs()
    kernel.put(f"{ISCSI}/iqn.x:t/tpgt_1/dynamic_sessions", "iqn.x:a\0iqn.x:b\0")
    assert read_sessions(kernel, "iqn.x:t") == (
        TargetSession("iqn.x:a", None, None),
        TargetSession("iqn.x:b", None, None),
    )
