"""The passive side: whether this node holds every write, stands by, suspects, takes over, or waits for a person."""

from __future__ import annotations

from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import ConnectionState, DiskState, Role
from holdfast_failover_vip.actions import Action, Claim, Connect, Note, Outdate, Step, StopServing, TakeOver
from holdfast_failover_vip.facts import GroupView
from holdfast_failover_vip.timers import Timers
from holdfast_failover_vip.witness import is_permitted

S = GroupState
MAX_FAILURES = 3
_NOT_DATA = (DiskState.OUTDATED, DiskState.INCONSISTENT, DiskState.DISKLESS, DiskState.FAILED)


def data_is_current(view: GroupView) -> bool:
    """Whether no write can have been acknowledged that is not on this node's disk.

    Gained while both sides are in sync with an active partner. Kept through the loss of the connection, for the
    active side is frozen until it has heard from us or has not heard of us for T_dead. Lost by whatever lets the
    partner go on without us.
    """
    if view.mirror.disk is not DiskState.UP_TO_DATE:
        return False
    if view.state.is_active or view.state is S.DEMOTING:
        return True
    if view.peer is None:
        return False
    if view.net.is_heard:
        if view.peer.state not in (S.ACTIVE_SYNC, S.FROZEN, S.PROMOTING, S.DEMOTING):
            return False
        if not view.peer.hears_us:
            # It may be about to go on without us, and we might never be told.
            return False
        if view.peer.state is S.ACTIVE_SYNC and view.mirror.is_in_sync:
            return True
    elif view.net.was_silent:
        # It may have gone on without us and acknowledged writes before its monitor fell silent for good.
        return False
    return view.is_current


def is_active_elsewhere(view: GroupView) -> bool:
    """Whether the partner says that it serves, or is about to."""
    peer = view.peer
    return view.net.is_heard and peer is not None and (peer.state.is_active or peer.state in (S.PROMOTING, S.DEMOTING))


def is_in_maintenance(view: GroupView) -> bool:
    """Whether a person works on this node: then it begins to serve only on a person's word."""
    return view.node in view.in_maintenance


def next_epoch(view: GroupView) -> int:
    """An epoch above every one known."""
    return max(view.record.epoch, view.peer.epoch if view.peer else 0) + 1


def pick(view: GroupView) -> str:
    """Who serves when nobody does and both could: the one that served last, else the preferred node.

    Both nodes compute it from the same two records, so both say the same.
    """
    own = (view.record.epoch, view.record.last_active)
    other = (view.peer.epoch, view.peer.last_active) if view.peer else own
    if own[0] == other[0]:
        last = own[1] if own[1] == other[1] else None
    else:
        last = max(own, other, key=lambda claim: claim[0])[1]
    return last if last in (view.node, view.partner) else view.plan.preferred


def _connects(view: GroupView) -> tuple[Action, ...]:
    idle = view.mirror.connection in (ConnectionState.STANDALONE, ConnectionState.UNKNOWN)
    return (Connect(),) if idle and view.may_connect and not view.has_split_brain else ()


def decide_standby(view: GroupView, timers: Timers) -> Step:
    """STANDBY_OK and STANDBY_NOT."""
    if not view.net.is_heard:
        return _unheard(view, timers)
    if is_active_elsewhere(view):
        return _beside_active(view)
    return _beside_passive(view)


def _unheard(view: GroupView, timers: Timers) -> Step:
    if view.is_current:
        sentence = f"{view.node} suspects {view.partner}: no heartbeat on any link for {view.net.heartbeat_ms} ms"
        return Step(S.SUSPECT, sentence=sentence, is_current=True)
    if view.mirror.role is Role.PRIMARY:
        return Step(view.state, (StopServing(),), f"{view.node} demotes {view.plan.name}, which it does not serve")
    if view.net.silent_ms < timers.alone_ms or view.since_ms < timers.alone_ms:
        return Step(S.STANDBY_NOT)
    return _alone(view, timers) or Step(
        S.MANUAL,
        sentence=f"{view.node} is alone with {view.plan.name} and cannot know that its data "
        f"({view.mirror.disk.value}, partner's {view.mirror.peer_disk.value}) are the newest: a person must decide",
    )


def _alone(view: GroupView, timers: Timers) -> Step | None:
    """A lone node whose kernel recorded that the partner's data are stale may serve again."""
    mirror = view.mirror
    # Connected means that its kernel lives although its monitor is silent: never then.
    if (
        mirror.disk is DiskState.UP_TO_DATE
        and mirror.peer_disk in (DiskState.OUTDATED, DiskState.INCONSISTENT)
        and not mirror.is_connected
        and view.net.silent_ms >= timers.alone_ms
        and view.net.is_probed
        and view.net.ping.run_ms >= timers.alone_ms
        and not address_is_claimed(view, timers)
        and view.may_retry
        and view.failures < MAX_FAILURES
        and not is_in_maintenance(view)
    ):
        sentence = (
            f"{view.node} serves {view.plan.name} alone: its data are UpToDate, those of {view.partner} are recorded "
            f"{mirror.peer_disk.value}, which has been silent for {view.net.silent_ms} ms while "
            f"{view.net.ping.voice} answered"
        )
        return Step(S.PROMOTING, (TakeOver(next_epoch(view), leaves_peer=True),), sentence)
    return None


def _beside_active(view: GroupView) -> Step:
    peer = view.peer
    assert peer is not None
    if view.mirror.role is Role.PRIMARY:
        sentence = f"{view.node} demotes {view.plan.name}: {view.partner} serves it"
        return Step(S.STANDBY_NOT, (StopServing(),), sentence, view.is_current)
    if peer.state is S.ACTIVE_SYNC and view.mirror.is_in_sync and peer.revision == view.plan.revision:
        note: tuple[Action, ...] = ()
        if (view.record.epoch, view.record.last_active) != (
            peer.epoch,
            view.partner,
        ) and peer.epoch >= view.record.epoch:
            note = (Note(peer.epoch, view.partner),)
        sentence = "" if view.state is S.STANDBY_OK else f"{view.node} stands by for {view.plan.name}: both are in sync"
        # Not current all the same while it does not hear us: it may be about to go on alone.
        return Step(S.STANDBY_OK, note, sentence, view.is_current)
    if peer.state in (S.DEMOTING, S.PROMOTING) and view.state is S.STANDBY_OK and view.mirror.is_in_sync:
        return Step(S.STANDBY_OK, is_current=view.is_current)
    sentence = ""
    if view.state is S.STANDBY_OK:
        sentence = f"{view.node} no longer stands by for {view.plan.name}: {_why_not_in_sync(view)}"
    return Step(S.STANDBY_NOT, _connects(view), sentence, view.is_current)


def _why_not_in_sync(view: GroupView) -> str:
    assert view.peer is not None
    if view.peer.revision != view.plan.revision:
        return f"its plan has revision {view.plan.revision}, the partner's {view.peer.revision}"
    if not view.mirror.is_connected:
        return f"the mirror is {view.mirror.connection.value} ({view.mirror.disk.value} here)"
    return (
        f"the mirror is {view.mirror.disk.value} here and {view.mirror.peer_disk.value} there, {view.peer.state} there"
    )


def _beside_passive(view: GroupView) -> Step:
    """Both monitors talk and neither serves."""
    peer, mirror = view.peer, view.mirror
    assert peer is not None
    stay = Step(S.STANDBY_NOT, _connects(view))
    if peer.state not in (S.STANDBY_NOT, S.MANUAL) or peer.revision != view.plan.revision or not mirror.is_connected:
        return stay
    chosen = pick(view)
    both_current = mirror.disk is DiskState.UP_TO_DATE and mirror.peer_disk is DiskState.UP_TO_DATE
    # A verify may have found blocks that differ: then only the side that served last has the truth.
    if mirror.is_in_sync or (both_current and chosen == view.record.last_active):
        if mirror.is_in_sync and chosen in view.in_maintenance:
            chosen = view.partner if chosen == view.node else view.node
        if peer.state is S.MANUAL and view.failures < MAX_FAILURES:
            chosen = view.node
        why = "it served last" if view.record.last_active == chosen else "it is preferred or its partner cannot"
    elif mirror.disk is DiskState.UP_TO_DATE and mirror.peer_disk in _NOT_DATA:
        chosen, why = view.node, f"only its data are UpToDate, the partner's are {mirror.peer_disk.value}"
    else:
        return stay
    if chosen != view.node:
        if mirror.role is Role.PRIMARY:
            sentence = f"{view.node} demotes {view.plan.name}: {view.partner} is to serve it"
            return Step(S.STANDBY_NOT, (StopServing(),), sentence)
        return stay
    if is_in_maintenance(view):
        return stay
    if view.failures >= MAX_FAILURES:
        sentence = f"{view.node} failed {view.failures} times to serve {view.plan.name}: a person must look"
        return Step(S.MANUAL, sentence=sentence)
    if not view.may_retry:
        return stay
    sentence = f"{view.node} starts to serve {view.plan.name}: nobody does, both are connected, and {why}"
    return Step(S.PROMOTING, (TakeOver(next_epoch(view), leaves_peer=False),), sentence)


def decide_suspect(view: GroupView, timers: Timers) -> Step:
    """SUSPECT: the only way into an unplanned takeover."""
    net = view.net
    if net.is_heard:
        sentence = f"{view.node} hears {view.partner} again after {view.since_ms} ms of suspicion"
        return Step(S.STANDBY_NOT, sentence=sentence, is_current=view.is_current)
    if not view.is_current:
        sentence = f"{view.node} may not take over {view.plan.name}: its data are {view.mirror.disk.value}"
        return Step(S.STANDBY_NOT, sentence=sentence)
    if net.ping.has_gap and net.silent_ms >= timers.suspect_ms and is_in_maintenance(view):
        # It suspects for as long as a person works, and may not take over meanwhile. Its data, which may be all that is
        # left by then, are not declared stale for a ping node that blinked: from here on they need a person's word.
        sentence = (
            f"{view.node}, in maintenance, lost the ping node while it heard nothing of {view.partner}: "
            f"it can no longer know that its data of {view.plan.name} are the newest"
        )
        return Step(S.STANDBY_NOT, sentence=sentence)
    if net.ping.has_gap and net.silent_ms >= timers.suspect_ms:
        sentence = (
            f"{view.node} hears neither {view.partner} nor {net.ping.voice} without a gap: the fault may be its own; "
            f"it declares its data of {view.plan.name} stale and will not take over"
        )
        return Step(S.STANDBY_NOT, (Outdate(),), sentence)
    if view.is_granted and net.silent_ms >= timers.promote_ms and net.is_probed:
        return _granted(view)
    if blockers(view, timers):
        return Step(S.SUSPECT, is_current=True)
    if not is_permitted(view):
        return Step(S.SUSPECT, (Claim(),), is_current=True)
    epoch = next_epoch(view)
    granted = ", and the witness granted it" if view.witness is not None else ""
    sentence = (
        f"{view.node} takes over {view.plan.name} from {view.partner}: silent for {net.silent_ms} ms on "
        f"{net.links} links, {net.links_up_before} of which were up, while {net.ping.voice} answered without a gap"
        f"{granted}; epoch {epoch}"
    )
    return Step(S.PROMOTING, (TakeOver(epoch, leaves_peer=True),), sentence, is_current=True)


def blockers(view: GroupView, timers: Timers) -> tuple[str, ...]:
    """What forbids an unplanned takeover now, each as a sentence; empty: it is allowed."""
    net, found = view.net, []
    if is_in_maintenance(view):
        found.append(maintenance_sentence(view.node))
    is_unsteady = net.is_flapping or net.lost_monitor_first(timers)
    dead_ms = timers.unsteady_dead_ms if is_unsteady else timers.promote_ms
    if net.silent_ms < dead_ms:
        if net.heartbeat_ms is not None and net.heartbeat_ms > 2 * dead_ms:
            found.append(f"the monitor of {view.partner} is silent, but its kernel answers: it serves on")
        else:
            found.append(f"{view.partner} is silent for {net.silent_ms} ms, not yet for {dead_ms} ms")
    if not net.is_probed:
        found.append(f"not enough echoes to {view.partner} went unanswered yet")
    if net.links_up_before < 2:
        found.append(f"only {net.links_up_before} link was up before the silence: its loss alone proves nothing")
    if not net.ping.is_continuous:
        found.append(f"{net.ping.voice} has not answered without a gap since before the silence")
    if address_is_claimed(view, timers):
        found.append("somebody answers for a virtual address")
    if not view.may_retry:
        found.append("the last attempt failed moments ago")
    if view.failures >= MAX_FAILURES:
        found.append(f"{view.failures} attempts failed")
    return tuple(found)


def maintenance_sentence(node: str) -> str:
    """Why a node in maintenance serves nothing that it did not serve."""
    return f"{node} is in maintenance and takes over on a person's word only: end the maintenance, or promote the group"


def address_is_claimed(view: GroupView, timers: Timers) -> bool:
    """Whether somebody answered for a virtual address after the partner's last sign of life."""
    return view.address_claimed_ms is not None and view.address_claimed_ms + timers.jitter_ms < view.net.silent_ms


def _granted(view: GroupView) -> Step:
    sentence = (
        f"{view.node} takes over {view.plan.name} on a person's word that {view.partner} is down; "
        f"what is not known: whether {view.partner} holds newer data (here: {view.mirror.disk.value})"
    )
    return Step(S.PROMOTING, (TakeOver(next_epoch(view), leaves_peer=True, is_granted=True),), sentence)


def decide_manual(view: GroupView, timers: Timers) -> Step:
    """MANUAL: left by the partner's return, by a person's word, or by proof that the partner's data are stale."""
    if view.failures >= MAX_FAILURES:
        return Step(S.MANUAL, is_current=view.is_current)
    if view.net.is_heard:
        return Step(S.STANDBY_NOT, sentence=f"{view.node} hears {view.partner} again and can agree with it")
    if view.is_granted and view.net.silent_ms >= timers.promote_ms and view.net.is_probed:
        return _granted(view)
    return _alone(view, timers) or Step(S.MANUAL)
