"""Which volume of a datanode gets a new replica: one that has room for it, drawn in proportion to
its room.

Always taking the emptiest would send everything to a disk that was just replaced, until it is as
full as the others, while they idle.
"""

from collections.abc import Sequence
from random import Random


def draw(rooms_bytes: Sequence[int], length_bytes: int, random: Random) -> int | None:
    """Return the index of a volume with room for `length_bytes`; None if there is none."""
    fitting = [index for index, room in enumerate(rooms_bytes) if room >= length_bytes]
    if not fitting:
        return None
    weights = [rooms_bytes[index] + 1 for index in fitting]  # a full one takes an empty replica
    return random.choices(fitting, weights)[0]
