"""The active side: serving, frozen, handing over, and giving way to a higher epoch."""

from __future__ import annotations

from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import ConnectionState, DiskState, FenceAnswer, Role
from holdfast_failover_vip.actions import (
    Action,
    Answer,
    AskPeer,
    Claim,
    Connect,
    DropAddress,
    HandOver,
    LeavePeer,
    OfferAgain,
    RaiseAddress,
    Reboot,
    Step,
    StopServing,
    TakeOver,
)
from holdfast_failover_vip.facts import GroupView, Verdict
from holdfast_failover_vip.standby import address_is_claimed, next_epoch
from holdfast_failover_vip.timers import Timers
from holdfast_failover_vip.witness import is_permitted, is_refused

S = GroupState
_NO_DISK = (DiskState.DISKLESS, DiskState.FAILED, DiskState.DETACHING)


def higher_epoch_elsewhere(view: GroupView) -> bool:
    """Whether the partner serves, or served, under an epoch above the one this node serves under."""
    peer, say = view.peer, view.fence_say
    if peer is not None and view.net.is_heard and peer.state.is_active and peer.epoch > view.record.held_epoch:
        return True
    if say is not None and say.verdict in (Verdict.PRIMARY, Verdict.NEWER):
        return say.epoch > view.record.held_epoch
    return False


def self_fence(view: GroupView) -> Step:
    """Give way: what this node still holds was never acknowledged, and must never be."""
    epoch = max(view.peer.epoch if view.peer else 0, view.fence_say.epoch if view.fence_say else 0)
    answers: tuple[Action, ...] = (Answer(FenceAnswer.PEER_PRIMARY),) if view.fence_pending else ()
    sentence = (
        f"{view.node} restarts itself: {view.partner} served {view.plan.name} under epoch {epoch}, "
        f"above its own {view.record.held_epoch}"
    )
    return Step(S.SELF_FENCE, (*answers, DropAddress(), Reboot()), sentence)


def decide_active(view: GroupView, timers: Timers) -> Step:
    """ACTIVE_SYNC and ACTIVE_ALONE."""
    mirror, name = view.mirror, view.plan.name
    # The kernel's question comes first and is never stale; what was read of the mirror may be.
    if view.fence_pending or (mirror.is_fresh and mirror.is_suspended and not mirror.is_connected):
        return Step(S.FROZEN, sentence=f"{name} is frozen on {view.node}: its mirror lost {view.partner}")
    if not mirror.is_fresh:
        return Step(view.state)
    if mirror.role is not Role.PRIMARY:
        sentence = f"{view.node} stops serving {name}: its mirror is no longer Primary"
        return Step(S.STANDBY_NOT, (StopServing(),), sentence)
    if view.state is S.ACTIVE_SYNC and (step := _isolation(view, timers) or _mirror_link_lost(view, timers)):
        return step
    if step := _handover(view, timers):
        return step
    raises: tuple[Action, ...] = () if view.address_is_up else (RaiseAddress(),)
    if mirror.is_in_sync:
        sentence = "" if view.state is S.ACTIVE_SYNC else f"{name} is in sync again: {view.partner} can take over"
        return Step(S.ACTIVE_SYNC, raises, sentence)
    sentence = (
        "" if view.state is S.ACTIVE_ALONE else f"{view.node} serves {name} without a current copy at its partner"
    )
    idle = mirror.connection is ConnectionState.STANDALONE
    if idle and view.net.is_heard and view.may_connect and not view.has_split_brain:
        return Step(S.ACTIVE_ALONE, (*raises, Connect()), sentence)
    return Step(S.ACTIVE_ALONE, raises, sentence)


def _isolation(view: GroupView, timers: Timers) -> Step | None:
    """In sync, and the partner is silent on every link: freeze before it can take over."""
    net = view.net
    # Alone, the partner's data are known to be stale: nobody can take over, and the address may stay.
    drops: tuple[Action, ...] = ()
    if net.silent_ms >= timers.isolated_ms and net.ping.has_gap and view.address_is_up:
        drops = (DropAddress(),)
    if net.silent_ms >= timers.dead_ms and net.is_probed:
        sentence = f"{view.node} freezes {view.plan.name}: {view.partner} is silent on all links for {net.silent_ms} ms"
        return Step(S.FROZEN, (*drops, LeavePeer()), sentence)
    if drops:
        sentence = (
            f"{view.node} drops the address of {view.plan.name}: it hears neither its partner nor {net.ping.voice}"
        )
        return Step(view.state, drops, sentence)
    if net.silent_ms >= timers.isolated_ms:
        return Step(view.state)
    return None


def _mirror_link_lost(view: GroupView, timers: Timers) -> Step | None:
    """In sync, the partner is heard, but not on the link of the mirror: leave it now.

    The kernel would notice after seconds only, and writes wait as long. Leaving freezes the mirror; then the partner
    is asked to be outdated, as after every loss. Where the link was silent before this node was in sync, the mirror
    does without it, and it proves nothing.
    """
    silent_ms = view.mirror_link_silent_ms
    if silent_ms is None or not timers.dead_ms <= silent_ms < view.since_ms or not view.net.is_heard:
        return None
    sentence = (
        f"{view.node} freezes {view.plan.name}: {view.partner} is heard, but not for {silent_ms} ms on the link "
        f"{view.plan.mirror_link} of its mirror"
    )
    return Step(S.FROZEN, (LeavePeer(),), sentence)


def _handover(view: GroupView, timers: Timers) -> Step | None:
    """A person's wish, a lost disk, or a lost client network: the partner serves better."""
    mirror, peer, net = view.mirror, view.peer, view.net
    if peer is None or not net.is_heard or not mirror.is_connected or mirror.peer_disk is not DiskState.UP_TO_DATE:
        return None
    if peer.state not in (S.STANDBY_OK, S.STANDBY_NOT) or peer.revision != view.plan.revision:
        return None
    if view.partner in view.in_maintenance:
        return None
    if view.switch_to == view.partner and mirror.is_in_sync and peer.state is S.STANDBY_OK:
        why = "a person asked for it"
    elif not view.may_retry:
        return None
    elif mirror.disk in _NO_DISK:
        why = f"its own disk is {mirror.disk.value}"
    elif (
        peer.state is S.STANDBY_OK
        and mirror.is_in_sync
        and peer.ping_answers
        and net.ping.silent_ms is not None
        and net.ping.silent_ms >= timers.client_lost_ms
    ):
        why = f"it lost {net.ping.voice} {net.ping.silent_ms} ms ago, which {view.partner} reaches"
    else:
        return None
    sentence = f"{view.node} hands {view.plan.name} over to {view.partner}: {why}"
    return Step(S.DEMOTING, (HandOver(next_epoch(view)),), sentence)


def decide_frozen(view: GroupView, timers: Timers) -> Step:
    """FROZEN: the kernel acknowledges nothing until it is answered or connected again. Waiting is always safe."""
    mirror, net, name = view.mirror, view.net, view.plan.name
    if mirror.is_fresh and not view.fence_pending and not mirror.is_suspended:
        return _thawed(view)
    drops: tuple[Action, ...] = ()
    is_alone = net.silent_ms >= timers.isolated_ms
    if is_alone and (net.ping.has_gap or is_refused(view)) and view.address_is_up:
        drops = (DropAddress(),)
    if not view.fence_pending:
        # Left the peer, or found frozen: without the kernel's question only the connection's return ends it.
        # It comes within milliseconds; what has not come after a second was lost with an earlier monitor, or with
        # the kernel's helper.
        is_forgotten = mirror.is_fresh and view.since_ms >= timers.reconnect_ms
        is_connecting = mirror.connection is ConnectionState.CONNECTING
        if is_forgotten and is_connecting and mirror.disk is DiskState.UP_TO_DATE:
            # The kernel asks at the end of every connection, be there one or not (drbd_receiver.c:conn_disconnect);
            # without its disk it does not, and waits for the partner's.
            return Step(S.FROZEN, (*drops, LeavePeer()))
        idle = is_forgotten and mirror.connection is ConnectionState.STANDALONE
        if idle and net.is_heard and view.may_connect and not _is_promoting(view):
            return Step(S.FROZEN, (*drops, Connect()))
        return Step(S.FROZEN, drops)
    if view.fence_say is not None and view.fence_say.verdict in (Verdict.OUTDATED, Verdict.INCONSISTENT):
        is_outdated = view.fence_say.verdict is Verdict.OUTDATED
        answer = FenceAnswer.PEER_OUTDATED if is_outdated else FenceAnswer.PEER_INCONSISTENT
        sentence = (
            f"{view.node} goes on with {name}: {view.partner} read back that its data are {view.fence_say.verdict}"
        )
        return Step(S.FROZEN, (*drops, Answer(answer)), sentence)
    if net.is_heard:
        return Step(S.FROZEN, (*drops, AskPeer()))
    dead_ms = timers.unsteady_dead_ms if net.is_flapping else timers.dead_ms
    is_dead = net.silent_ms >= dead_ms and net.is_probed and net.links > 0
    # Not since its last sign of life only: in a gap earlier in this freeze the partner may have taken over, and served.
    was_never_alone = net.ping.is_continuous and net.ping.run_ms >= view.since_ms
    if is_dead and was_never_alone and not address_is_claimed(view, timers):
        if not is_permitted(view):
            return Step(S.FROZEN, (*drops, Claim()))
        granted = ", and the witness granted it" if view.witness is not None else ""
        sentence = (
            f"{view.node} goes on with {name} alone: {view.partner} is silent on all {net.links} links for "
            f"{net.silent_ms} ms while {net.ping.voice} answered without a gap{granted}"
        )
        return Step(S.FROZEN, (Answer(FenceAnswer.PEER_UNREACHABLE),), sentence)
    if drops:
        sentence = (
            f"{view.node} drops the address of {name}: frozen, and it hears neither its partner nor {net.ping.voice}"
        )
        return Step(S.FROZEN, drops, sentence)
    return Step(S.FROZEN)


def _is_promoting(view: GroupView) -> bool:
    return view.peer is not None and view.peer.state is S.PROMOTING


def _thawed(view: GroupView) -> Step:
    mirror, name = view.mirror, view.plan.name
    if mirror.role is not Role.PRIMARY:
        sentence = f"{view.node} stops serving {name}: its mirror is no longer Primary"
        return Step(S.STANDBY_NOT, (StopServing(),), sentence)
    raises: tuple[Action, ...] = () if view.address_is_up else (RaiseAddress(),)
    if mirror.is_in_sync:
        return Step(S.ACTIVE_SYNC, raises, f"{view.node} goes on with {name}: its mirror is connected again, in sync")
    if mirror.is_connected:
        sentence = (
            f"{view.node} goes on with {name}: its mirror is connected again and brings {view.partner} up to date"
        )
        return Step(S.ACTIVE_ALONE, raises, sentence)
    return Step(S.ACTIVE_ALONE, raises, f"{name} runs again on {view.node}, without {view.partner}")


def decide_demoting(view: GroupView, timers: Timers) -> Step:
    """DEMOTING: demoted and offered to the partner; wait for it, take it back, or stand by for it."""
    peer, net, name = view.peer, view.net, view.plan.name
    if not net.is_heard:
        # Whoever is handed a group is its active node as far as we know; we hold every write of it.
        sentence = f"{view.node} lost {view.partner} while handing {name} over"
        return Step(S.SUSPECT, sentence=sentence, is_current=True)
    assert peer is not None
    if peer.state.is_active and peer.epoch >= view.handed_epoch:
        return Step(
            S.STANDBY_NOT, sentence=f"{view.partner} serves {name} now, under epoch {peer.epoch}", is_current=True
        )
    if peer.state is S.PROMOTING:
        return Step(S.DEMOTING, is_current=True)
    if view.handover_refusal is None and view.since_ms < timers.handover_ms:
        return Step(S.DEMOTING, (OfferAgain(),), is_current=True)
    why = view.handover_refusal or f"it did not within {view.since_ms} ms"
    if (
        view.mirror.is_connected
        and view.mirror.peer_role is Role.SECONDARY
        and view.mirror.disk is DiskState.UP_TO_DATE
    ):
        sentence = f"{view.node} takes {name} back, for {view.partner} does not serve it: {why}"
        action = TakeOver(max(next_epoch(view), view.handed_epoch + 1), leaves_peer=False)
        return Step(S.PROMOTING, (action,), sentence, is_current=True)
    return Step(S.STANDBY_NOT, sentence=f"{view.partner} does not serve {name}: {why}", is_current=True)
