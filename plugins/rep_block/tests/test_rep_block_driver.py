"""The driver's decisions and command lines, without a kernel; what they do is shown in the lab."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import (
    BusyError,
    ConflictError,
    NotFoundError,
    RefusedError,
    SystemCommandError,
    UnavailableError,
    VerificationError,
)
from holdfast.hooks.base import Host
from holdfast.hooks.replication import DiskState, MirrorEndpoint, MirrorSpec, MirrorVolume, Role, SyncLimits
from holdfast.testing.fakes import Answer, ManualClock, ScriptedCommands, make_host
from holdfast.values import Secret
from holdfast_rep_block import genetlink, metadata, options
from holdfast_rep_block.connecting import Connector
from holdfast_rep_block.drbdsetup import KernelRefusedError, translate
from holdfast_rep_block.driver import DrbdMirrors, open_driver
from holdfast_rep_block.settings import Settings, SettingsSchema

DRBD = Settings.drbdsetup
VOLUME = MirrorVolume("v0", 0, 3, "/dev/vg/v0", "/dev/vg/v0-meta", 1 << 30)
SPEC = MirrorSpec("m0", MirrorEndpoint("10.0.0.1", 7790), MirrorEndpoint("10.0.0.2", 7790), (VOLUME,))

SHOW = """resource m0 {
    _remote_host { address ipv4 10.0.0.2:7790; }
    _this_host { address ipv4 10.0.0.1:7790;
        volume 0 { device minor 3; disk "/dev/vg/v0"; meta-disk "/dev/vg/v0-meta"; } } }
"""


def dump(
    *,
    role: str = "Secondary",
    connection: str = "Connected",
    disk: str = "UpToDate",
    peer_disk: str = "UpToDate",
    suspended: str = "no",
) -> str:
    name = "" if connection == "StandAlone" else "conn-name:peer "
    return (
        f"exists resource name:m0 role:{role} suspended:{suspended}\n"
        f"exists connection name:m0 {name}connection:{connection} role:Unknown\n"
        f"exists device name:m0 volume:0 minor:3 disk:{disk}\n"
        f"exists peer-device name:m0 volume:0 replication:Off peer-disk:{peer_disk} out-of-sync:0\n"
        "exists -\n"
    )


class Kernel:
    """Scripted commands by the first words after the program; what is not scripted fails the test."""

    def __init__(self, tmp_path: Path, **answers: str | Answer | Callable[[], Answer]) -> None:
        self.answers = {name.replace("_", "-"): answer for name, answer in answers.items()}
        self.commands = ScriptedCommands(self.answer)
        self.host: Host = make_host(tmp_path, commands=self.commands)
        self.asked: list[tuple[int, bytes]] = []
        self.said = genetlink.Answer(1, "")
        self.driver = DrbdMirrors(Settings(), self.host, Connector(self.ask))

    def ask(self, command: int, payload: bytes) -> genetlink.Answer:
        self.asked.append((command, payload))
        self.commands.calls.append((DRBD, "(netlink)", str(command)))
        return self.said

    def answer(self, argv: tuple[str, ...], _input: bytes | None) -> Answer | None:
        word = argv[1] if argv[0] == DRBD else argv[-1] if argv[0] == Settings.drbdmeta else argv[0]
        found = self.answers.get(word)
        if isinstance(found, str):
            return Answer(found)
        return found if isinstance(found, Answer | None) else found()

    def words(self) -> list[str]:
        return [" ".join(call[1:]) for call in self.commands.calls]


def failure(number: int, text: str, code: int = 17) -> Answer:
    return Answer(stderr=f"3: State change failed: ({number}) {text}\n", returncode=code)


# --- translation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("0: State change failed: (-2) Need access to UpToDate data", RefusedError),
        ("1: State change failed: (-7) Refusing to be Primary while peer is not outdated", RefusedError),
        ("r0: State change failed: (-12) Device is held open by someone\nfailed to demote", BusyError),
        ("17: Failure: (127) Device minor not allocated\nadditional info from kernel:\nunknown minor", NotFoundError),
        ("0: Failure: (124) Device is attached to a disk (use detach first)", RefusedError),
        ("lock on /var/lock/drbd-147-0 currently held by pid:958", BusyError),
        ("something nobody has seen yet", SystemCommandError),
    ],
)
def test_complaints_become_errors_of_the_tree(stderr: str, kind: type[Exception]) -> None:
    assert type(translate(SystemCommandError([DRBD], 10, stderr))).__mro__.index(kind) <= 1


def test_a_refusal_has_the_kernels_words_its_number_and_a_remedy() -> None:
    error = translate(SystemCommandError([DRBD], 17, "0: State change failed: (-2) Need access to UpToDate data"))
    assert isinstance(error, KernelRefusedError)
    assert error.number == -2
    assert "Need access to UpToDate data" in str(error)
    assert error.reasons[0].remedy


# --- metadata ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size_bytes", "expected_mib"),
    [(0, 4), (4096, 4), (25 << 30, 4), (31 << 30, 4), (32 << 30, 8), (1 << 40, 132), (4 << 40, 516)],
)
def test_metadata_room_is_a_bit_for_each_4_kib_of_four_times_the_size_in_whole_extents(
    size_bytes: int, expected_mib: int
) -> None:
    assert metadata.metadata_bytes(size_bytes) == expected_mib << 20
    assert metadata.largest_bytes(expected_mib << 20) >= 4 * size_bytes


async def test_metadata_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2="exists -\n", get_gi="0000000000000004:0:0:0:0\n")
    await kernel.driver.create_metadata(SPEC)
    assert not [call for call in kernel.commands.calls if "create-md" in call]


async def test_metadata_in_use_by_the_mirror_itself_is_left_alone(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), show=SHOW)
    await kernel.driver.create_metadata(SPEC)
    assert all(call[0] == DRBD for call in kernel.commands.calls)


async def test_a_foreign_signature_is_never_overwritten(tmp_path: Path) -> None:
    nothing = Answer(returncode=1)
    kernel = Kernel(tmp_path, events2="exists -\n", get_gi=nothing, blkid="DEVNAME=/dev/vg/v0-meta\nTYPE=ext4\n")
    with pytest.raises(ConflictError, match="ext4"):
        await kernel.driver.create_metadata(SPEC)
    assert not [call for call in kernel.commands.calls if "create-md" in call]


async def test_data_without_a_signature_is_never_overwritten(tmp_path: Path) -> None:
    refusal = Answer(
        stderr="Found some data\n\n ==> This might destroy existing data! <==\nOperation cancelled.\n", returncode=1
    )
    blank = Answer(returncode=2)
    kernel = Kernel(tmp_path, events2="exists -\n", get_gi=Answer(returncode=1), blkid=blank, create_md=refusal)
    with pytest.raises(ConflictError, match="not blank"):
        await kernel.driver.create_metadata(SPEC)
    assert not [call for call in kernel.commands.calls if "--force" in call]


async def test_metadata_that_is_not_found_afterwards_is_an_error(tmp_path: Path) -> None:
    nothing, blank = Answer(returncode=1), Answer(returncode=2)
    kernel = Kernel(tmp_path, events2="exists -\n", get_gi=nothing, blkid=blank, create_md="")
    with pytest.raises(VerificationError):
        await kernel.driver.create_metadata(SPEC)


async def test_metadata_on_a_device_that_is_gone_is_wiped_already(tmp_path: Path) -> None:
    gone = Answer(stderr="open(/dev/vg/v0-meta) failed: No such file or directory\n", returncode=20)
    kernel = Kernel(tmp_path, events2="exists -\n", get_gi=gone)
    await kernel.driver.wipe_metadata(SPEC)
    with pytest.raises(NotFoundError):
        await kernel.driver.create_metadata(SPEC)


# --- several volumes ---------------------------------------------------------------------------------

TWO = dump(role="Primary").replace(
    "exists -\n",
    "exists device name:m0 volume:2 minor:5 disk:{disk}\n"
    "exists peer-device name:m0 volume:2 replication:Off peer-disk:UpToDate out-of-sync:0\nexists -\n",
)


async def test_only_the_volumes_that_are_asked_for_are_promoted(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=TWO.format(disk="Inconsistent"), primary="")
    await kernel.driver.promote("m0", numbers={0})
    assert [words for words in kernel.words() if words.startswith("primary")] == ["primary 3"]
    with pytest.raises(RefusedError, match="must not become Primary"):
        await kernel.driver.promote("m0", numbers={0, 2})
    with pytest.raises(RefusedError, match="volume 1 is not in the kernel"):
        await kernel.driver.promote("m0", numbers={0, 1})
    assert [words for words in kernel.words() if words.startswith("primary")] == ["primary 3"]


async def test_a_volume_is_demoted_before_its_disk_is_taken_from_it(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=TWO.format(disk="UpToDate"), secondary="", detach="", del_minor="")
    await kernel.driver.take_out("m0", 2)
    assert kernel.words()[1:] == ["secondary 5", "detach 5", "del-minor 5"]
    await kernel.driver.take_out("m0", 1)
    assert kernel.words()[4:] == ["events2 m0 --now --statistics"]


async def test_a_volume_whose_disk_is_gone_already_is_taken_out(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=TWO.format(disk="Diskless"), secondary="", del_minor="")
    await kernel.driver.take_out("m0", 2)
    assert kernel.words()[1:] == ["secondary 5", "del-minor 5"]


async def test_a_volume_in_use_is_not_taken_out_and_keeps_its_disk(tmp_path: Path) -> None:
    held = failure(-12, "Device is held open by someone", code=11)
    kernel = Kernel(tmp_path, events2=TWO.format(disk="UpToDate"), secondary=held)
    taking = asyncio.ensure_future(kernel.driver.take_out("m0", 2))
    assert isinstance(kernel.host.clock, ManualClock)
    for _ in range(30):
        await asyncio.sleep(0)
        await kernel.host.clock.advance(0.1)
    with pytest.raises(BusyError):
        await taking
    assert {words.split()[0] for words in kernel.words()} == {"events2", "secondary"}


async def test_metadata_of_a_volume_that_was_taken_out_is_wiped_while_the_others_are_up(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), get_gi=Answer(returncode=1))
    await kernel.driver.wipe_metadata(replace(SPEC, volumes=(replace(VOLUME, number=1),)))
    with pytest.raises(ConflictError, match="is up"):
        await kernel.driver.wipe_metadata(SPEC)


# --- up ----------------------------------------------------------------------------------------------


async def test_attach_configures_what_is_missing(tmp_path: Path) -> None:
    states = iter(["exists -\n", dump(connection="StandAlone", disk="Inconsistent")])
    kernel = Kernel(tmp_path, events2=lambda: Answer(next(states)), new_resource="", new_minor="", attach="")
    status = await kernel.driver.attach(SPEC)
    assert status.volumes[0].disk is DiskState.INCONSISTENT
    words = kernel.words()
    assert words[1:3] == ["new-resource m0 --on-no-data-accessible=suspend-io", "new-minor m0 3 0"]
    assert words[3].startswith("attach 3 /dev/vg/v0 /dev/vg/v0-meta flexible --fencing=resource-and-stonith")


async def test_attach_of_a_mirror_that_is_up_changes_nothing(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), show=SHOW)
    await kernel.driver.attach(SPEC)
    assert {call[1] for call in kernel.commands.calls} == {"events2", "show"}


async def test_a_volume_on_another_device_is_a_conflict(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), show=SHOW.replace("/dev/vg/v0-meta", "/dev/vg/other"))
    with pytest.raises(ConflictError):
        await kernel.driver.attach(SPEC)


async def test_metadata_of_a_crash_is_repaired_and_attached(tmp_path: Path) -> None:
    tries = iter([Answer(stderr="3: Failure: (165) Unclean meta-data found.\n", returncode=10), Answer()])
    states = iter(["exists -\n", dump(connection="StandAlone", disk="Consistent")])
    kernel = Kernel(
        tmp_path,
        events2=lambda: Answer(next(states)),
        new_resource="",
        new_minor="",
        attach=lambda: next(tries),
        apply_al="",
    )
    await kernel.driver.attach(SPEC)
    assert [word.split()[0] for word in kernel.words()].count("attach") == 2
    assert kernel.words()[-3] == "3 v08 /dev/vg/v0-meta flex-external apply-al"


async def test_connect_between_other_addresses_is_a_conflict(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), show=SHOW.replace("10.0.0.2", "10.0.0.9"))
    with pytest.raises(ConflictError, match="other addresses"):
        await kernel.driver.connect(SPEC)


async def test_disconnect_asks_the_kernel_for_addresses_it_does_not_know(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), show=SHOW, disconnect="")
    await kernel.driver.disconnect("m0", force=True)
    assert kernel.words()[-1] == "disconnect ipv4:10.0.0.1:7790 ipv4:10.0.0.2:7790 --force"


async def test_on_the_way_of_a_takeover_disconnect_is_one_command(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), show=SHOW, disconnect="")
    await kernel.driver.connect(SPEC)
    before = len(kernel.commands.calls)
    await kernel.driver.disconnect("m0", force=True)
    assert len(kernel.commands.calls) == before + 1


async def test_a_connection_that_is_gone_already_is_success(tmp_path: Path) -> None:
    alone = SHOW.replace("_remote_host { address ipv4 10.0.0.2:7790; }", "").replace("address ipv4 10.0.0.1:7790;", "")
    gone = Answer(stderr="??: Failure: (162) Invalid configuration request\nunknown connection\n", returncode=10)
    shows = iter([SHOW, alone])
    kernel = Kernel(tmp_path, events2=dump(), show=lambda: Answer(next(shows)), disconnect=gone)
    await kernel.driver.connect(SPEC)
    await kernel.driver.disconnect("m0")


# --- roles -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("disk", ["Diskless", "Inconsistent", "Failed", "Negotiating"])
async def test_a_side_without_data_is_refused_by_our_own_rule(tmp_path: Path, disk: str) -> None:
    kernel = Kernel(tmp_path, events2=dump(disk=disk))
    with pytest.raises(RefusedError) as refusal:
        await kernel.driver.promote("m0")
    assert refusal.value.reasons[0].code == "no-data-here"
    assert not [call for call in kernel.commands.calls if "primary" in call]


@pytest.mark.parametrize(
    ("suspended", "disk", "goes_on"),
    [
        ("no-data", "UpToDate", True),
        ("no", "UpToDate", False),
        ("fencing", "UpToDate", False),
        ("no-data,fencing", "UpToDate", False),
        ("user", "UpToDate", False),
        ("no-data", "Consistent", False),
    ],
)
async def test_who_waits_for_data_that_is_back_goes_on_and_nobody_else(
    tmp_path: Path, suspended: str, disk: str, goes_on: bool
) -> None:
    found = dump(suspended=suspended, disk=disk, peer_disk="Diskless")
    kernel = Kernel(tmp_path, events2=found, show=SHOW, primary="", resume_io="")
    await kernel.driver.promote("m0")
    await kernel.driver.connect(SPEC)
    assert [word for word in kernel.words() if "resume-io" in word] == (["resume-io 3"] * 2 if goes_on else [])
    if goes_on:
        assert kernel.words().index("resume-io 3") < kernel.words().index("primary 3")


async def test_promotion_is_never_forced(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), primary="")
    await kernel.driver.promote("m0")
    assert kernel.words()[-1] == "primary 3"


async def test_with_the_stream_alive_a_takeover_is_two_commands(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), show=SHOW, disconnect="", primary="")
    await kernel.driver.connect(SPEC)
    watching = kernel.driver.watch()
    assert (await anext(watching)).name == "m0"
    before = len(kernel.commands.calls)
    await kernel.driver.disconnect("m0", force=True)
    await kernel.driver.promote("m0")
    assert [word.split()[0] for word in kernel.words()[before:]] == ["disconnect", "primary"]
    await watching.aclose()  # type: ignore[attr-defined]


async def test_a_mirror_that_may_be_connected_is_looked_at_before_it_is_promoted(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(disk="Inconsistent"), show=SHOW, disconnect="", primary="")
    watching = kernel.driver.watch()
    await anext(watching)
    await kernel.driver.disconnect("m0")
    await kernel.driver.connect(SPEC)
    with pytest.raises(RefusedError):
        await kernel.driver.promote("m0")
    await watching.aclose()  # type: ignore[attr-defined]


async def test_a_refused_promotion_leaves_a_secondary(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), primary=failure(-7, "Refusing to be Primary while peer is not outdated"))
    with pytest.raises(RefusedError, match="not outdated"):
        await kernel.driver.promote("m0")


async def test_a_promotion_that_timed_out_is_judged_by_what_is_read(tmp_path: Path) -> None:
    def hang() -> Answer:
        raise SystemCommandError([DRBD], None, "")

    states = iter([dump(), dump(role="Primary")])
    kernel = Kernel(tmp_path, events2=lambda: Answer(next(states)), primary=hang)
    await kernel.driver.promote("m0")
    kernel = Kernel(tmp_path, events2=dump(), primary=hang)
    with pytest.raises(SystemCommandError):
        await kernel.driver.promote("m0")


async def test_nothing_is_done_to_a_mirror_that_is_not_up(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2="exists -\n")
    for change in (kernel.driver.promote, kernel.driver.demote, kernel.driver.outdate, kernel.driver.verify):
        with pytest.raises(NotFoundError):
            await change("m0")
    assert {call[1] for call in kernel.commands.calls} == {"events2"}


async def test_outdate_leaves_the_peer_first_and_reads_back(tmp_path: Path) -> None:
    states = iter([dump(), dump(), dump(connection="StandAlone", disk="Outdated")])
    kernel = Kernel(tmp_path, events2=lambda: Answer(next(states)), show=SHOW, disconnect="", outdate="")
    assert await kernel.driver.outdate("m0") is DiskState.OUTDATED
    changes = [word for word in kernel.words() if word.split()[0] in ("disconnect", "outdate", "events2")][-3:]
    assert [word.split()[0] for word in changes] == ["disconnect", "outdate", "events2"]
    assert changes[0].endswith("--force")


async def test_an_outdate_that_did_not_take_is_not_claimed(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), show=SHOW, disconnect="", outdate="")
    assert await kernel.driver.outdate("m0") is DiskState.UP_TO_DATE


async def test_a_primary_is_not_outdated_and_not_disconnected(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(role="Primary"))
    with pytest.raises(ConflictError):
        await kernel.driver.outdate("m0")
    assert {call[1] for call in kernel.commands.calls} == {"events2"}


# --- first sync --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "generation"),
    [
        (dump(connection="Connecting", disk="Inconsistent", peer_disk="Inconsistent"), "0000000000000004"),
        (dump(disk="Inconsistent", peer_disk="UpToDate"), "0000000000000004"),
        (dump(disk="Inconsistent", peer_disk="Inconsistent"), "6ED5156DA7D9DA4E"),
        (dump(disk="Inconsistent", peer_disk="Inconsistent", role="Primary"), "0000000000000004"),
        (dump(disk="UpToDate", peer_disk="Inconsistent"), "0000000000000004"),
    ],
)
async def test_a_first_sync_is_skipped_in_no_other_state(tmp_path: Path, state: str, generation: str) -> None:
    kernel = Kernel(tmp_path, events2=state, get_gi=f"{generation}:0:0:0:0\n")
    with pytest.raises(ConflictError):
        await kernel.driver.skip_first_sync("m0")


async def test_a_full_sync_ends_with_a_generation_of_its_own(tmp_path: Path) -> None:
    kernel = Kernel(
        tmp_path,
        events2=dump(disk="Inconsistent", peer_disk="Inconsistent"),
        get_gi="0000000000000004:0:0:0:0\n",
        invalidate_remote="",
        show=SHOW,
        disconnect="",
        new_current_uuid="",
    )
    await kernel.driver.start_full_sync(SPEC)
    changes = [word.split()[0] for word in kernel.words()]
    assert changes[-5:] == ["invalidate-remote", "show", "disconnect", "new-current-uuid", "(netlink)"]


async def test_a_full_sync_that_was_interrupted_is_brought_to_its_end(tmp_path: Path) -> None:
    kernel = Kernel(
        tmp_path,
        events2=dump(disk="UpToDate", peer_disk="Inconsistent"),
        get_gi="0000000000000004:0:0:0:0\n",
        show=SHOW,
        disconnect="",
        new_current_uuid="",
    )
    await kernel.driver.start_full_sync(SPEC)
    assert "new-current-uuid 3" in kernel.words()


# --- watching ----------------------------------------------------------------------------------------


async def test_a_stream_that_ends_is_started_again_and_all_mirrors_are_named(tmp_path: Path) -> None:
    first = dump() + "change resource name:m0 role:Primary\n"
    streams = iter([first, "exists resource name:m1 role:Secondary\nexists -\n"])
    kernel = Kernel(tmp_path, events2=lambda: Answer(next(streams)))
    watching = kernel.driver.watch()
    told = [await anext(watching) for _ in range(2)]
    assert [(status.name, status.role) for status in told] == [("m0", Role.SECONDARY), ("m0", Role.PRIMARY)]
    later = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0.01)
    assert not later.done()
    assert isinstance(kernel.host.clock, ManualClock)
    await kernel.host.clock.advance(1.0)
    # m0 went away unheard: whoever watches is told to look at it, too.
    told = [await later, await anext(watching)]
    assert [(status.name, status.is_up) for status in told] == [("m0", False), ("m1", True)]
    await watching.aclose()  # type: ignore[attr-defined]


async def test_without_the_stream_nothing_is_believed_to_be_known(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), show=SHOW, disconnect="", primary="")
    watching = kernel.driver.watch()
    await anext(watching)
    await watching.aclose()  # type: ignore[attr-defined]
    await kernel.driver.disconnect("m0", force=True)
    await kernel.driver.promote("m0")
    assert kernel.words()[-2:] == ["events2 m0 --now --statistics", "primary 3"]


# --- opening -----------------------------------------------------------------------------------------


async def test_a_module_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, modprobe=Answer(stderr="modprobe: FATAL: Module drbd not found\n", returncode=1))
    with pytest.raises(UnavailableError, match="not found"):
        await open_driver(Settings(), kernel.host)


def test_the_defaults_are_those_of_the_dataclass() -> None:
    assert SettingsSchema().load({}) == Settings()
    for field in SettingsSchema().fields.values():
        assert field.metadata["description"]


def test_timers_keep_their_inequalities() -> None:
    net = {kind: int.from_bytes(value, "little") for kind, value in net_conf(None).items()}
    protocol, connect_int, timeout, ping_int, ping_timeout, ko_count = (net[kind] for kind in (6, 7, 8, 9, 10, 13))
    assert ping_timeout / 10 < timeout / 10 < ping_int == connect_int
    assert 2 <= timeout / 10 * ko_count <= 5
    assert protocol == 3
    assert [net[kind] for kind in (17, 18, 19, 20, 24)] == [0] * 5, "diverged data is never judged by a rule"


def net_conf(secret: Secret | None) -> dict[int, bytes]:
    return dict(genetlink.attributes(b"".join(options.net(secret))))


def test_the_buffers_let_a_resync_go_faster_than_half_a_gibibyte_a_second() -> None:
    """The kernel asks for half of max-buffers, in pages, each tenth of a second: that is 32 MiB with 16384 of them."""
    max_buffers = int.from_bytes(net_conf(None)[14], "little")
    assert max_buffers * 4096 // 2 * 10 > 512 * 1024 * 1024


def test_the_socket_stays_corked() -> None:
    """DRBD's default: it uncorks when there is no more to send. Without it small writes are a third slower."""
    assert 26 not in net_conf(None)


# --- the secret ----------------------------------------------------------------------------------------


async def test_the_secret_goes_to_the_kernel_and_into_no_argument_list(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    kernel = Kernel(tmp_path, events2="exists -\n", new_resource="", new_minor="", attach="")
    await kernel.driver.connect(replace(SPEC, secret=Secret("correct horse")))
    ((command, payload),) = kernel.asked
    found = dict(genetlink.attributes(payload))
    inside = dict(genetlink.attributes(found[5]))
    assert (command, inside[1], inside[2]) == (10, b"correct horse\0", b"sha256\0")
    assert "correct" not in str(kernel.commands.calls)
    assert "correct" not in caplog.text


async def test_without_a_secret_nothing_is_asked_of_the_peer() -> None:
    assert not {1, 2} & set(net_conf(None))


async def test_a_refusal_by_netlink_is_the_kernels(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2="exists -\n", new_resource="", new_minor="", attach="")
    kernel.said = genetlink.Answer(125, "connection already exists")
    with pytest.raises(KernelRefusedError, match="already exists"):
        await kernel.driver.connect(SPEC)


async def test_a_primary_is_not_told_to_give_up_its_changes(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(connection="StandAlone", role="Primary"), show=SHOW)
    with pytest.raises(ConflictError):
        await kernel.driver.connect(SPEC, discard_changes=True)
    assert kernel.asked == []


# --- while it is used ------------------------------------------------------------------------------------


async def test_a_resync_that_is_held_already_is_success(tmp_path: Path) -> None:
    held = Answer(stderr="0: Failure: (134) Sync-pause flag is already set\n", returncode=10)
    going = Answer(stderr="0: Failure: (135) Sync-pause flag is already cleared\n", returncode=10)
    kernel = Kernel(tmp_path, events2=dump(), pause_sync=held, resume_sync=going)
    await kernel.driver.pause_sync("m0")
    await kernel.driver.resume_sync("m0")


async def test_limits_are_in_kib_and_the_least_is_not_above_the_most(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(), disk_options="")
    await kernel.driver.limit_sync("m0", SyncLimits(max_bytes_s=10 << 20))
    assert kernel.words()[-1] == "disk-options 3 --c-plan-ahead=0 --resync-rate=10240 --c-min-rate=10240"


@pytest.mark.parametrize(
    "state",
    [dump(), dump(role="Primary", peer_disk="Inconsistent"), dump(role="Primary", connection="StandAlone")],
)
async def test_it_grows_only_in_sync_and_under_a_primary(tmp_path: Path, state: str) -> None:
    kernel = Kernel(tmp_path, events2=state)
    if "StandAlone" in state:
        kernel.answers["events2"] = state.replace("peer-disk:UpToDate", "peer-disk:DUnknown")
    with pytest.raises(ConflictError):
        await kernel.driver.grow("m0", new_part_is_zero=True)


async def test_a_part_that_is_zero_is_not_synced(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, events2=dump(role="Primary"), resize="")
    await kernel.driver.grow("m0", new_part_is_zero=True)
    await kernel.driver.grow("m0", new_part_is_zero=False)
    assert [word for word in kernel.words() if "resize" in word] == ["resize 3 --assume-clean", "resize 3"]


def test_addresses_are_in_drbdsetups_words() -> None:
    assert options.address(MirrorEndpoint("10.0.0.1", 7790)) == "ipv4:10.0.0.1:7790"
    assert options.address(MirrorEndpoint("fd00::1", 7790)) == "ipv6:[fd00::1]:7790"
