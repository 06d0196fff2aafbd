"""What goes wrong in a run, as data: each kind of fault is a struct, a plan is one JSON document.

A plan is drawn before the run (`plan_maker`), and the run does what it says (`injection`): a plan
that was found to break something can be kept, cut down and run again, whatever the generator has
become meanwhile. Only jitter comes from the plan's seed: delays, which of the unsynced writes
survive, which of the reads fail.

Every fault begins at `at_ms`; one that lasts ends `for_ms` later, a process that died starts again
after `down_ms`. A fault that would take the last good replica of a block is not done, unless it
says `even_the_last`: what a run promises must be possible.
"""

import enum
from typing import Annotated

import msgspec

from dolmen.simulation.sim_inode import Keeps

WEEKS_MS = 2**32

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=WEEKS_MS)]
Chance = Annotated[float, msgspec.Meta(ge=0, le=1)]
Number = Annotated[int, msgspec.Meta(ge=0)]
"""What a plan that is decoded may have; `plan` looks at the names."""


class Fault(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="fault"
):
    """Something that goes wrong at some time."""

    at_ms: Milliseconds

    @property
    def until_ms(self) -> int:
        """When it is over and what it hit is to work again."""
        return self.at_ms

    @property
    def places(self) -> tuple[str, ...]:
        """The hosts that it names."""
        named = [getattr(self, name, None) for name in ("process", "source", "target")]
        return (*(name for name in named if isinstance(name, str)), *getattr(self, "hosts", ()))


class _Lasting(Fault, frozen=True, kw_only=True):
    for_ms: Milliseconds

    @property
    def until_ms(self) -> int:
        return self.at_ms + self.for_ms


class _Death(Fault, frozen=True, kw_only=True):
    down_ms: Milliseconds

    @property
    def until_ms(self) -> int:
        return self.at_ms + self.down_ms


# ---------------------------------------------------------------- processes


class Kill(_Death, frozen=True, kw_only=True, tag="kill"):
    """A process dies: its connections are reset, what it had written is there."""

    process: str
    turn: Number = 0
    """Not at once, but before so many further turns of its own: between any two awaits."""


class PowerLoss(_Death, frozen=True, kw_only=True, tag="power loss"):
    """A machine loses power: what was not synced is torn or gone, and its peers are not told."""

    process: str
    keeps: Keeps = Keeps.SOME
    turn: Number = 0


class Blackout(_Death, frozen=True, kw_only=True, tag="blackout"):
    """The namenode and all datanodes lose power at once, and come back one after another."""

    keeps: Keeps = Keeps.SOME


class RollingRestart(Fault, frozen=True, kw_only=True, tag="rolling restart"):
    """All datanodes and then the namenode are stopped and started again, one after another."""

    down_ms: Milliseconds
    between_ms: Milliseconds
    killed: bool = False
    """Whether they are killed instead of stopped cleanly."""


class Pause(_Lasting, frozen=True, kw_only=True, tag="pause"):
    """A process is stopped as by SIGSTOP and goes on later: time has passed, and it did not see."""

    process: str


# ---------------------------------------------------------------- clocks


class ClockJump(Fault, frozen=True, kw_only=True, tag="clock jump"):
    """A machine's wall clock is set: so much ahead of the others' time, or behind it."""

    process: str
    ahead_ms: Annotated[int, msgspec.Meta(ge=-WEEKS_MS, le=WEEKS_MS)]


class ClockDrift(_Lasting, frozen=True, kw_only=True, tag="clock drift"):
    """A machine's wall clock is too fast, or too slow, for a while."""

    process: str
    parts_per_million: Annotated[int, msgspec.Meta(ge=-500_000, le=500_000)]


# ---------------------------------------------------------------- network


class Cut(_Lasting, frozen=True, kw_only=True, tag="cut"):
    """Two hosts do not reach each other, although others reach both."""

    source: str
    target: str
    one_way: bool = False
    """Only what `source` sends to `target` gets lost."""


class Isolation(_Lasting, frozen=True, kw_only=True, tag="isolation"):
    """Some hosts reach each other and nobody else."""

    hosts: tuple[str, ...]
    one_way: bool = False
    """They hear the others and are not heard."""


class SlowLink(_Lasting, frozen=True, kw_only=True, tag="slow link"):
    """The way between two hosts is long and narrow."""

    source: str
    target: str
    delay_ms: Milliseconds
    bytes_per_s: Annotated[int, msgspec.Meta(ge=1)]


class PacketLoss(_Lasting, frozen=True, kw_only=True, tag="packet loss"):
    """Some packets have to be sent again, everywhere: messages are late, those of one connection
    overtake those of another, and now and then a connection is given up."""

    chance: Chance


class Resets(_Lasting, frozen=True, kw_only=True, tag="resets"):
    """Connections break everywhere, with each message by this chance, in the middle of bodies and
    before answers: so calls are repeated that had been done."""

    chance: Chance


class HalfOpen(Fault, frozen=True, kw_only=True, tag="half open"):
    """What connects two hosts is forgotten on the way: nothing arrives, and nobody is told."""

    source: str
    target: str


# ---------------------------------------------------------------- disks


class ReadErrors(_Lasting, frozen=True, kw_only=True, tag="read errors"):
    """Some reads of a machine's volume fail with EIO, others do not."""

    process: str
    chance: Chance
    volume: Number = 0


class FullDisk(_Lasting, frozen=True, kw_only=True, tag="full disk"):
    """A volume has no room left: writes fail with ENOSPC."""

    process: str
    volume: Number = 0


class SlowDisk(_Lasting, frozen=True, kw_only=True, tag="slow disk"):
    """Each operation on a volume takes `times` as long."""

    process: str
    times: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    volume: Number = 0


class HungDisk(_Lasting, frozen=True, kw_only=True, tag="hung disk"):
    """No operation on a volume ends before this is over."""

    process: str
    volume: Number = 0


class FailedSync(_Lasting, frozen=True, kw_only=True, tag="failed sync"):
    """The next sync of a volume fails, and what it should have made lasting never will be; in the
    end somebody restarts the datanode, so that it reads the volume anew. A namenode ends."""

    process: str
    volume: Number = 0


class RotKind(enum.Enum):
    """What becomes of a replica at rest."""

    DATA = "data"
    """A bit of its data is another."""
    CHECKSUMS = "checksums"
    """A bit of its checksum file is another."""
    UNREADABLE = "unreadable"
    """Its data cannot be read any more."""


class Rot(Fault, frozen=True, kw_only=True, tag="rot"):
    """A replica at rest goes bad; `nth` of those that there are then, and of its bytes."""

    nth: Number
    kind: RotKind = RotKind.DATA
    even_the_last: bool = False
    """Also if no other good replica of its block is left."""


class Return(enum.Enum):
    """What is in a volume's directory after it had vanished."""

    ITSELF = "itself"
    EMPTY = "empty"
    """A new disk."""
    OLDER = "older"
    """The disk as it was when the volume vanished last, or else when the run began."""


class LostVolume(_Lasting, frozen=True, kw_only=True, tag="lost volume"):
    """A volume of a datanode disappears, and later something is in its place."""

    process: str
    volume: Number = 0
    comes_back: Return = Return.ITSELF
    even_the_last: bool = False


AnyFault = (
    Kill
    | PowerLoss
    | Blackout
    | RollingRestart
    | Pause
    | ClockJump
    | ClockDrift
    | Cut
    | Isolation
    | SlowLink
    | PacketLoss
    | Resets
    | HalfOpen
    | ReadErrors
    | FullDisk
    | SlowDisk
    | HungDisk
    | FailedSync
    | Rot
    | LostVolume
)
