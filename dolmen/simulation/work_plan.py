"""What clients do in a run, as data: a part of the plan.

A kind of work is a file of `workloads`; a plan names those that run beside each other. Work comes
in bursts with idle time between, if the plan wants a long run that costs little: what goes wrong
goes wrong in both.
"""

from typing import Annotated

import msgspec

KINDS = (
    "owned",
    "shared",
    "contest",
    "trees",
    "long_readers",
    "hurried_readers",
    "mass_delete",
    "setrep",
    "append",
    "truncate",
    "concat",
    "follow",
    "follow_changes",
    "recover_lease",
    "leaving",
    "balancing",
    "fsck",
    "safe_mode",
)
"""Every kind of work there is, by the name of its file."""


class Work(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the clients of a run do."""

    kinds: tuple[str, ...] = ("owned", "shared")
    pause_ms: Annotated[int, msgspec.Meta(ge=0)] = 2_500
    """Between two operations of a task, on average."""
    burst_s: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How long clients work before they are idle; 0: they never are."""
    idle_s: Annotated[int, msgspec.Meta(ge=0)] = 0
    replications: tuple[int, ...] = (2, 3, 3, 3, 4)
    """Of new files, as far as there are datanodes. With 1 among them files may be out of reach for
    as long as a datanode is."""
    may_fail: bool = True
    """Whether an operation may fail for want of datanodes or of a namenode. Not if the plan is no
    reason: one datanode down at a time, and the namenode soon back."""

    @property
    def has_only_replicas(self) -> bool:
        """Whether files may have one replica, which is away with its datanode."""
        return 1 in self.replications

    def rest_s(self, now_s: float) -> float:
        """Return how long nobody works from now on; 0 in a burst."""
        if not self.burst_s:
            return 0.0
        within_s = now_s % (self.burst_s + self.idle_s)
        return max(0.0, self.burst_s + self.idle_s - within_s) if within_s >= self.burst_s else 0.0
