"""How closely the faults of a plan follow each other.

A row is a sequence of faults, each of which begins a pause after the one before is over; what is
drawn here is the pauses, and how many rows run beside each other. Datanodes and the namenode have
one row each, because what is promised with one of them away is not promised with two. Clients and
links may have several: nothing is promised to be fast.
"""

from dataclasses import dataclass

Pause = tuple[int, int]
"""In milliseconds, from and to."""


@dataclass(frozen=True)
class Rhythm:
    """The pauses of each kind of row, and how many rows there are."""

    datanodes_ms: Pause
    """Between the return of one datanode and the death of the next."""
    namenode_ms: Pause
    """Between two deaths of the namenode: safe mode is over, and clients have gone on."""
    clients_ms: Pause
    anywhere_ms: Pause
    client_rows: int = 1
    anywhere_rows: int = 1


CALM = Rhythm(
    datanodes_ms=(200, 20_000),
    namenode_ms=(25_000, 100_000),
    clients_ms=(25_000, 100_000),
    anywhere_ms=(200, 20_000),
)
"""Most of the time there is one trouble, and what it led to is over before the next."""

BRISK = Rhythm(
    datanodes_ms=(100, 4_000),
    namenode_ms=(25_000, 100_000),
    clients_ms=(1_000, 20_000),
    anywhere_ms=(100, 8_000),
    anywhere_rows=2,
)

DENSE = Rhythm(
    datanodes_ms=(100, 4_000),
    namenode_ms=(20_000, 50_000),
    clients_ms=(200, 8_000),
    anywhere_ms=(100, 2_000),
    client_rows=2,
    anywhere_rows=3,
)
"""Every second or two something begins, and meets what has not been mended yet."""

RHYTHMS = (CALM, BRISK, DENSE, DENSE)
