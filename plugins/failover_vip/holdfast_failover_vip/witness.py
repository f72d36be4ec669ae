"""The witness: a third host that grants the right to go on without the partner, to one of the two nodes at most.

For each group it keeps of each node one word: whether that node has released the right. A claim is granted while the
partner's word is "released", and takes back the claimant's own. So of two claims the second finds the word of the
first one taken back, and only that node itself gives it again, when both sides are in sync. A witness that started
anew has no word of anybody, and grants nothing until both have given theirs.

What it says is needed besides all other evidence, and never instead of any: whoever goes on with a witness would have
gone on without one. A node that is refused, or not answered, waits, as it does while its pings have a gap.
"""

from __future__ import annotations

from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import Role
from holdfast_failover_vip.actions import Step
from holdfast_failover_vip.facts import GroupView

S = GroupState


def is_permitted(view: GroupView) -> bool:
    """Whether the witness, if there is one, lets this node go on without its partner."""
    return view.witness is None or view.witness.holds


def is_refused(view: GroupView) -> bool:
    """Whether the witness lets the partner go on, and may have done so: whoever serves then, it is not this node."""
    return view.witness is not None and view.witness.answers and not view.witness.is_open


def releases(view: GroupView, step: Step) -> bool:
    """Whether the right is to be given back: all that this node acknowledged without its partner is on both disks.

    From here on it acknowledges nothing without it but after a claim, or after proof that its partner's data are stale.
    """
    witness, mirror = view.witness, view.mirror
    if witness is None or not witness.answers or witness.has_released:
        return False
    if step.state is not view.state or not view.net.is_heard or view.fence_pending:
        return False
    if not (mirror.is_fresh and mirror.is_in_sync) or mirror.is_suspended:
        return False
    if view.state is S.ACTIVE_SYNC:
        return mirror.role is Role.PRIMARY
    return view.state in (S.STANDBY_OK, S.STANDBY_NOT) and mirror.role is Role.SECONDARY


def lack_of_permission(view: GroupView) -> tuple[str, ...]:
    """Why the witness does not let this node go on without its partner, as a sentence; none if it does."""
    witness = view.witness
    if witness is None or witness.holds:
        return ()
    if not witness.answers:
        return ("the witness does not answer: without its word neither node goes on without the other",)
    if not witness.is_open:
        return (
            f"the witness does not let {view.node} go on without {view.partner}: that may go on without {view.node}, "
            "or the witness started anew since both were in sync",
        )
    return ("the witness has not granted it yet",)
