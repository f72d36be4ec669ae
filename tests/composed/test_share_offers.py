"""Shares offered to clients, on a whole daemon: jobs, refusals, reconciling, and what a replica share changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.hooks.share import NfsExposure, SmbExposure
from tests.composed.appliance import Appliance, Refused
from tests.composed.conftest import Failing

PASSWORD = "a password of anna's"
SMB, NFS = "/v1/shares/docs/smb", "/v1/shares/docs/nfs"
HOST = "10.0.0.7"


@pytest.fixture
async def a(nodes: tuple[Appliance, Appliance]) -> Appliance:
    """Node a with a share and two users, one in a group; each protocol is offered."""
    node = nodes[0]
    await node.change("POST", "/v1/volumes", {"pool": "main", "name": "files", "size_bytes": 64 << 20, "kind": "nas"})
    await node.change("POST", "/v1/shares", {"name": "docs", "volume": "files", "path": "docs"})
    for name in ("anna", "bert"):
        await node.change("POST", "/v1/share-users", {"name": name, "password": PASSWORD})
    await node.change("POST", "/v1/share-groups", {"name": "team", "members": ["bert"]})
    await node.change("PUT", SMB, {"write_users": ["anna"], "read_groups": ["team"]})
    await node.change("PUT", NFS, {"clients": [{"network": "10.0.0.0/24"}]})
    return node


async def test_a_share_is_offered_by_both_protocols_and_shown_as_it_is(a: Appliance) -> None:
    shown = await a.get(SMB)
    assert (shown["write_users"], shown["read_groups"], shown["drift"]) == (["anna"], ["team"], [])
    assert shown["actual"]["path"].endswith("/docs")
    assert (await a.get(NFS))["actual"]["clients"] == [
        {"network": "10.0.0.0/24", "is_read_only": False, "squash": "root"}
    ]
    session = a.mechanisms.smb.log_in("docs", "anna", PASSWORD)
    assert session is not None
    assert session.write()
    a.mechanisms.nfs.connect("docs", HOST)
    found = [
        (s["protocol"], s["client"], s["user"], [f["path"] for f in s["files"]])
        for s in await a.items("/v1/shares/docs/sessions")
    ]
    assert found == [("smb", "127.0.0.1", "anna", ["held"]), ("nfs", HOST, None, ["held"])]


async def test_the_name_of_the_file_system_to_nfs_clients_stays_the_same(a: Appliance) -> None:
    first = (await a.get(NFS))["fsid"]
    await a.change("PUT", NFS, {"clients": [], "is_read_only": True})
    assert (await a.get(NFS))["fsid"] == first


async def test_what_was_changed_from_outside_is_drift_and_is_mended(a: Appliance) -> None:
    served = a.mechanisms.smb.served
    served.exposures["docs"] = replace(served.exposures["docs"], is_hidden=True)
    served.exposures["surplus"] = SmbExposure("surplus", served.exposures["docs"].path)
    del a.mechanisms.nfs.served.exposures["docs"]
    a.mechanisms.smb.users.clear()
    assert (await a.get(SMB))["drift"] == ["is_hidden is true where false was asked for"]
    assert (await a.get(NFS))["drift"] == ["it is not offered"]
    await a.system.services.reconciler.once()
    assert (await a.get(SMB))["drift"] == (await a.get(NFS))["drift"] == []
    assert set(served.exposures) == {"docs"}
    assert set(a.mechanisms.smb.users) == {"anna", "bert"}
    assert a.system.services.reconciler.drift == ()


async def test_a_share_whose_volume_is_not_mounted_is_offered_to_nobody(
    a: Appliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    a.mechanisms.volumes.mounts.clear()
    monkeypatch.setattr(a.mechanisms.volumes, "mount", never)
    await a.system.services.reconciler.once()
    assert await a.mechanisms.smb.list_exposures() == ()
    assert await a.mechanisms.nfs.list_exposures() == ()
    assert any("docs is not offered by SMB" in text for text in a.system.services.reconciler.drift)


async def never(device: str, directory: str) -> None:
    """A mount that does not come about."""


async def test_a_replica_share_is_written_to_by_no_client_until_it_is_closed(a: Appliance) -> None:
    session = a.mechanisms.smb.log_in("docs", "anna", PASSWORD)
    host = a.mechanisms.nfs.connect("docs", HOST)
    assert session is not None
    assert host is not None
    await a.change("PUT", "/v1/agent", {"is_enabled": True, "address": "127.0.0.1", "port": 8873})
    replica = {"name": "r", "share": "docs", "user": "u", "password": PASSWORD, "allowed_sources": ["127.0.0.1"]}
    await a.change("POST", "/v1/replica-shares", replica)
    assert not session.write()
    assert not host.write()
    shown = await a.get(SMB)
    assert (shown["is_replica"], shown["is_read_only"], shown["actual"]["is_read_only"], shown["drift"]) == (
        True,
        False,
        True,
        [],
    )
    await a.change("PUT", SMB, {"write_users": ["anna"]})
    assert (await a.get(SMB))["actual"]["is_read_only"]
    await a.change("DELETE", "/v1/replica-shares/r")
    again = a.mechanisms.smb.log_in("docs", "anna", PASSWORD)
    assert again is not None
    assert again.write()


async def test_a_share_in_use_is_not_removed_and_who_holds_it_is_named(a: Appliance) -> None:
    a.mechanisms.smb.log_in("docs", "anna", PASSWORD)
    a.mechanisms.nfs.connect("docs", HOST)
    for path, words in (
        ("/v1/shares/docs", ("anna at 127.0.0.1 holds open held", f"{HOST} holds open held", "offered by SMB")),
        (SMB, ("anna at 127.0.0.1 holds open held",)),
        (NFS, (f"{HOST} holds open held",)),
    ):
        with pytest.raises(Refused) as refused:
            await a.change("DELETE", path)
        assert (refused.value.status, refused.value.problem["code"]) == (409, "busy")
        assert all(word in str(refused.value) for word in words)
    assert len(await a.items("/v1/shares/docs/sessions")) == 2
    await a.change("DELETE", f"{SMB}?confirm=docs")
    await a.change("DELETE", f"{NFS}?confirm=docs")
    await a.change("DELETE", "/v1/shares/docs")


async def test_a_share_that_is_copied_and_offered_is_refused_with_every_reason(a: Appliance) -> None:
    task = {"name": "t", "share": "docs", "agent_address": "127.0.0.1", "replica_share": "r", "user": "u"}
    await a.change("POST", "/v1/replication-tasks", {**task, "password": PASSWORD})
    with pytest.raises(Refused) as refused:
        await a.change("DELETE", "/v1/shares/docs")
    told = [reason["text"] for reason in refused.value.problem["reasons"]]
    assert [text.rpartition(" by ")[2] for text in told] == ["the replication-task t", "SMB", "NFS"]


async def test_who_does_not_exist_is_given_no_access(a: Appliance) -> None:
    with pytest.raises(Refused) as refused:
        await a.change("PUT", SMB, {"write_users": ["zoe"], "read_groups": ["nobody"]})
    assert refused.value.status == 400
    assert [reason["code"] for reason in refused.value.problem["reasons"]] == ["unknown", "unknown"]
    assert (await a.get(SMB))["write_users"] == ["anna"]


async def test_an_account_that_is_named_is_not_removed(a: Appliance) -> None:
    for path, word in (
        ("/v1/share-users/anna", "smb-offer docs"),
        ("/v1/share-users/bert", "share-group team"),
        ("/v1/share-groups/team", "smb-offer docs"),
    ):
        with pytest.raises(Refused) as refused:
            await a.change("DELETE", path)
        assert refused.value.status == 409
        assert word in str(refused.value)


async def test_a_number_is_given_once(a: Appliance) -> None:
    numbers = {user["name"]: user["uid"] for user in await a.items("/v1/share-users")}
    await a.change("PUT", SMB, {"write_users": [], "read_groups": ["team"]})
    await a.change("DELETE", "/v1/share-users/anna")
    await a.change("POST", "/v1/share-users", {"name": "zoe", "password": PASSWORD})
    assert (await a.get("/v1/share-users/zoe"))["uid"] == max(numbers.values()) + 1
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/share-users", {"name": "yan", "password": PASSWORD, "uid": numbers["bert"]})
    assert "that of bert" in str(refused.value)


async def test_an_account_that_the_system_has_is_refused_and_leaves_nothing(a: Appliance) -> None:
    with pytest.raises(Refused) as refused:
        await a.change("POST", "/v1/share-users", {"name": "root", "password": PASSWORD})
    assert "account of the system" in str(refused.value)
    assert [user["name"] for user in await a.items("/v1/share-users")] == ["anna", "bert"]
    assert set(a.mechanisms.smb.users) == {"anna", "bert"}


async def test_a_password_is_in_no_answer_and_no_record_of_a_job(a: Appliance, directory: Path) -> None:
    await a.change("PUT", "/v1/share-users/anna/password", {"password": "the next one"})
    assert a.mechanisms.smb.log_in("docs", "anna", "the next one") is not None
    told = str([await a.items("/v1/jobs?page_size=1000"), await a.items("/v1/share-users"), await a.get(SMB)])
    assert "share-user.set" in told
    assert PASSWORD not in told
    assert "the next one" not in told


@pytest.mark.parametrize("mark", [1, 2, 3, 4])
async def test_a_change_that_fails_leaves_the_share_offered_as_before(
    a: Appliance, failing: Failing, mark: int
) -> None:
    before = [await a.mechanisms.smb.list_exposures(), await a.mechanisms.nfs.list_exposures()]
    for kind, path, body in (
        ("smb-offer.set", SMB, {"write_users": ["bert"]}),
        ("nfs-offer.set", NFS, {"clients": []}),
    ):
        failing.begin(kind, mark)
        with pytest.raises(Refused):
            await a.change("PUT", path, body)
    assert [await a.mechanisms.smb.list_exposures(), await a.mechanisms.nfs.list_exposures()] == before
    assert (await a.get(SMB))["drift"] == (await a.get(NFS))["drift"] == []


async def test_networks_are_canonical_and_named_once(a: Appliance) -> None:
    await a.change("PUT", NFS, {"clients": [{"network": "10.0.0.7/32", "squash": "all"}, {"network": "fd00::/64"}]})
    [exposure] = await a.mechanisms.nfs.list_exposures()
    assert isinstance(exposure, NfsExposure)
    assert [client.network for client in exposure.clients] == ["10.0.0.7", "fd00::/64"]
    for networks in (["10.0.0.7/24"], ["somewhere"], ["10.0.0.7", "10.0.0.7/32"]):
        with pytest.raises(Refused) as refused:
            await a.change("PUT", NFS, {"clients": [{"network": network} for network in networks]})
        assert refused.value.status == 400


async def test_a_volume_is_let_go_of_while_it_moves_onto_a_mirror(
    a: Appliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[int] = []
    unmount = a.mechanisms.volumes.unmount

    async def see(directory: str) -> None:
        paths = [shown.path for shown in await a.mechanisms.smb.list_exposures()]
        paths += [shown.path for shown in await a.mechanisms.nfs.list_exposures()]
        offered.append(sum(path.startswith(directory) for path in paths))
        await unmount(directory)

    monkeypatch.setattr(a.mechanisms.volumes, "unmount", see)
    await a.change("POST", "/v1/mirrors", {"name": "m", "volumes": ["files"], "first_sync": "full"})
    assert offered == [0]
    assert (await a.get(SMB))["drift"] == (await a.get(NFS))["drift"] == []
    await a.change("DELETE", "/v1/mirrors/m?confirm=m")
    assert offered == [0, 0]
    assert (await a.get(SMB))["drift"] == (await a.get(NFS))["drift"] == []
