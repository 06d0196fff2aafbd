"""Which replicas go when a block has too many: one rule.

First one whose host has another, then one whose rack has another; the last of a rack only if
nothing else can go, so that two racks are never left for one. Among equals goes the one that is
being moved away from, if there is one, else that of the fullest datanode. Only replicas that are
proven themselves are candidates, and as many proven ones as are wanted remain (rule 24).
"""

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from namenode.core.roster import Site

S = TypeVar("S", bound=Site)


def choose_excess(proven: Sequence[S], wanted: int, moving_from: str = "") -> tuple[S, ...]:
    """Return those of `proven`, the datanodes whose good replica is proof, whose replica may go."""
    remaining = list(proven)
    chosen = []
    while len(remaining) > wanted:
        hosts = Counter(site.host for site in remaining)
        racks = Counter(site.rack for site in remaining)
        worst = min(
            remaining,
            key=lambda site: (
                racks[site.rack] == 1,
                hosts[site.host] == 1,
                site.datanode_id != moving_from,
                -site.use,
                site.free_bytes,
                site.datanode_id,
            ),
        )
        remaining.remove(worst)
        chosen.append(worst)
    return tuple(chosen)
