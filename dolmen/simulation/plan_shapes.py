"""How the cluster of a plan is made, how fast it is, and what its clients do: all but its faults.

Every kind of work is legal beside every other; what an operator does goes beside files that are
written and read. More kinds at once make each of them slower, so that no plan costs many times what
another does.
"""

from collections.abc import Sequence
from random import Random

from dolmen.simulation.fault_draws import Family
from dolmen.simulation.plan import Pace, Plan
from dolmen.simulation.work_plan import Work

DATANODES = (3, 3, 4, 5, 5, 6, 7)
RACKS = (1, 1, 2, 3)
VOLUMES = (1, 1, 2, 3)
CLIENTS = (1, 2, 3, 3, 4)
BLOCK_SIZES_BYTES = tuple(1024 * size for size in (64, 192, 256, 256, 256, 512))
INLINE_LIMITS_BYTES = (8192, 0, 8192, 1000)
CHECKPOINTS_EVERY = (20, 100, 500)
REPLICATIONS = (
    (2, 3, 3, 3, 4),
    (2, 3, 3, 3, 4),
    (3,),
    (1, 1, 2, 3),
)

PACES = (
    Pace(),
    Pace(reset_chance=3e-4),
    Pace(delay_max_ms=5, network_bytes_per_s=2e7, sync_ms=5, disk_bytes_per_s=5e7),
    Pace(
        delay_max_ms=30, network_bytes_per_s=2e6, operation_ms=1, sync_ms=40, disk_bytes_per_s=5e6
    ),
    Pace(operation_ms=2, sync_ms=100, disk_bytes_per_s=2e6),
    Pace(delay_max_ms=60, network_bytes_per_s=1e6, reset_chance=3e-4),
)

WHOLE_KINDS = (
    "owned",
    "shared",
    "contest",
    "trees",
    "long_readers",
    "hurried_readers",
    "mass_delete",
    "setrep",
)
GROWING_KINDS = ("append", "truncate", "concat", "follow", "follow_changes", "recover_lease")
FILE_KINDS = (*WHOLE_KINDS, *GROWING_KINDS)
OPERATOR_KINDS = ("leaving", "balancing", "fsck", "safe_mode")
QUIET_OPERATOR_KINDS = ("balancing", "fsck")
"""Those that make no other operation wait."""

PAUSE_MS = (150, 300, 600)
"""Between two operations of all tasks together."""

LONG_RUN_S = 7200
LONG_RUN_BURSTS_S = (150, 2250)
"""A long run works for 150 s in every 40 minutes: idle hours pass quickly, leases, tokens, scrubs
and checkpoints grow old in them, and what goes wrong hits those who work."""


class Shapes:
    """Draws plans without faults."""

    def __init__(self, random: Random, families: frozenset[Family]) -> None:
        self._random = random
        self._only_deaths = families == {Family.CRASH}

    def draw(self, seed: int, seconds: int, datanodes: int | None) -> Plan:
        """Draw a cluster and its work."""
        choice = self._random.choice
        drawn = choice(DATANODES)
        clients = choice(CLIENTS)
        return Plan(
            seed,
            seconds,
            drawn if datanodes is None else datanodes,
            clients,
            racks=choice(RACKS),
            volumes=choice(VOLUMES),
            block_size_bytes=choice(BLOCK_SIZES_BYTES),
            inline_limit_bytes=INLINE_LIMITS_BYTES[seed // 2 % len(INLINE_LIMITS_BYTES)],
            checkpoint_every=choice(CHECKPOINTS_EVERY),
            local_clients=seed % 2 == 1,
            one_host=seed % 4 == 3,
            pace=choice(PACES),
            work=self._work(seconds, clients),
        )

    def _work(self, seconds: int, clients: int) -> Work:
        burst_s, idle_s = LONG_RUN_BURSTS_S if seconds >= LONG_RUN_S else (0, 0)
        replications = self._random.choice(REPLICATIONS)
        may_fail = not self._only_deaths or 1 in replications or self._random.random() < 0.5
        files = self._some(FILE_KINDS, self._random.randint(1, 3))
        operator_kinds = OPERATOR_KINDS if may_fail else QUIET_OPERATOR_KINDS
        operator = self._some(operator_kinds, self._random.choice((0, 0, 1, 2)))
        return Work(
            kinds=(*files, *operator),
            pause_ms=self._random.choice(PAUSE_MS) * clients * len(files),
            burst_s=burst_s,
            idle_s=idle_s,
            replications=replications,
            may_fail=may_fail,
        )

    def _some(self, kinds: Sequence[str], number: int) -> Sequence[str]:
        return self._random.sample(kinds, number)
