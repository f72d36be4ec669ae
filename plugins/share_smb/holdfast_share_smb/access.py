"""What a user may do with a share, decided from its lists alone; and who may do less after a change."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from holdfast.hooks.share import ShareGroup, SmbExposure


class Right(IntEnum):
    """What a user may do; the greater includes the lesser."""

    NOTHING = 0
    READ = 1
    WRITE = 2


def groups_of(user: str, groups: Iterable[ShareGroup]) -> frozenset[str]:
    """The names of the groups that a user is in."""
    return frozenset(group.name for group in groups if user in group.members)


def right_of(user: str, groups: frozenset[str], exposure: SmbExposure | None) -> Right:
    """What a user in these groups may do with a share; None is one that is not offered."""
    if exposure is None:
        return Right.NOTHING
    if user in exposure.write_users or groups.intersection(exposure.write_groups):
        return Right.READ if exposure.is_read_only else Right.WRITE
    if user in exposure.read_users or groups.intersection(exposure.read_groups):
        return Right.READ
    return Right.NOTHING


def may_less(user: str, groups: Iterable[ShareGroup], before: SmbExposure | None, after: SmbExposure | None) -> bool:
    """Whether a change of a share takes something from a user."""
    his = groups_of(user, groups)
    return right_of(user, his, after) < right_of(user, his, before)
