"""The order in which a mirrored unit that is a file becomes larger. Pure; the reasons are those of decision 21."""

from __future__ import annotations


def in_turn_of_record(here: str, there: str, *, is_served_here: bool) -> tuple[str, str]:
    """Both nodes, in the order in which they note the new size of a file that has it already.

    The one that serves comes last: initiators see the new size when its monitor has taken it up, and from then on a
    takeover must not find a smaller one.
    """
    return (there, here) if is_served_here else (here, there)
