"""Single faults as the generator draws them, in rows by what they hit.

Limits are here: what a run promises must be possible. A namenode is gone for less than a client is
patient, clocks differ by less than a token lives, and where files of one replica are wanted nothing
is destroyed, because nobody could tell which of several replicas is the only good one.
"""

import enum
from collections.abc import Callable, Mapping
from random import Random
from typing import TypedDict

from dolmen.simulation import faults
from dolmen.simulation.faults import AnyFault, Return, RotKind
from dolmen.simulation.plan import NAMENODE, Plan, client_name, datanode_name
from dolmen.simulation.sim_inode import Keeps

SHORT_MS = (1, 2_000)
"""A restart that others notice as a broken connection and nothing more."""

LONG_MS = (2_000, 40_000)
"""STALE, and often DEAD: repair begins, and finds its work undone when the datanode returns."""

NAMENODE_DOWN_MS = (1, 8_000)
"""Together with safe mode, shorter than a client is patient: a pause and not an error."""

TURNS_MAX = 200
"""A death at once is one between requests; so many turns later it is in the middle of something."""

DARK_MS = (500, 5_000)
"""Between two machines that come back after a blackout: all are there within a minute."""

CLOCK_AHEAD_MS = 5_000
"""Less than half a token's life, so that two clocks differ by less than one."""


class Family(enum.Enum):
    """The kinds of faults that a run may be asked for."""

    CRASH = "crash"
    PAUSE = "pause"
    NETWORK = "network"
    DISK = "disk"
    CLOCK = "clock"


Draw = Callable[[int], AnyFault]
"""Makes a fault that begins at a time."""

Row = Mapping[Family, tuple[Draw, ...]]
"""What may come one after the other."""


class Draws:
    """All faults that may be drawn for a plan."""

    def __init__(self, random: Random, plan: Plan) -> None:
        self._random = random
        self._plan = plan

    @property
    def on_datanodes(self) -> Row:
        """What keeps a datanode, its disk or its link from serving."""
        return {
            Family.CRASH: (self._kill, self._power_loss),
            Family.PAUSE: (self._pause,),
            Family.NETWORK: (self._isolation, self._half_open),
            Family.DISK: (
                self._read_errors,
                self._full_disk,
                self._slow_disk,
                self._hung_disk,
                self._failed_sync,
                self._lost_volume,
                *(() if self._plan.work.has_only_replicas else (self._rot, self._rot)),
            ),
            Family.CLOCK: (),
        }

    @property
    def on_namenode(self) -> Row:
        """What the namenode is back from soon."""
        return {
            Family.CRASH: (
                self._kill_namenode,
                self._power_loss_of_namenode,
                self._rolling_restart,
            ),
            Family.PAUSE: (self._pause_namenode,),
            Family.NETWORK: (self._isolate_namenode,),
            Family.DISK: (
                self._slow_namenode_disk,
                self._hung_namenode_disk,
                self._full_namenode_disk,
                self._failed_sync_of_namenode,
            ),
            Family.CLOCK: (),
        }

    @property
    def on_clients(self) -> Row:
        """What those who use the cluster suffer."""
        return {
            Family.CRASH: (self._kill_client,),
            Family.PAUSE: (self._pause_client,),
            Family.NETWORK: (self._isolate_client,),
            Family.DISK: (),
            Family.CLOCK: (),
        }

    @property
    def anywhere(self) -> Row:
        """What nobody may notice but by the time that things take."""
        return {
            Family.CRASH: (),
            Family.PAUSE: (),
            Family.NETWORK: (self._cut, self._slow_link, self._packet_loss, self._resets),
            Family.DISK: (self._read_errors_of_namenode,),
            Family.CLOCK: (self._clock_jump, self._clock_drift),
        }

    def blackout(self, at_ms: int) -> faults.Blackout:
        """What takes everything at once, and has the cluster to itself."""
        down_ms = self._random.randint(*DARK_MS)
        return faults.Blackout(at_ms=at_ms, down_ms=down_ms, keeps=self._keeps())

    # ------------------------------------------------------------ datanodes

    def _kill(self, at_ms: int) -> AnyFault:
        down_ms, turn = self._down_ms(), self._turn()
        return faults.Kill(at_ms=at_ms, process=self._datanode(), down_ms=down_ms, turn=turn)

    def _power_loss(self, at_ms: int) -> AnyFault:
        down_ms, turn, keeps = self._down_ms(), self._turn(), self._keeps()
        return faults.PowerLoss(
            at_ms=at_ms, process=self._datanode(), down_ms=down_ms, keeps=keeps, turn=turn
        )

    def _pause(self, at_ms: int) -> AnyFault:
        return faults.Pause(at_ms=at_ms, process=self._datanode(), for_ms=self._down_ms())

    def _isolation(self, at_ms: int) -> AnyFault:
        hosts, one_way = (self._datanode(),), self._random.random() < 0.3
        return faults.Isolation(at_ms=at_ms, hosts=hosts, for_ms=self._down_ms(), one_way=one_way)

    def _half_open(self, at_ms: int) -> AnyFault:
        source, target = self._two_hosts()
        return faults.HalfOpen(at_ms=at_ms, source=source, target=target)

    def _read_errors(self, at_ms: int) -> AnyFault:
        chance = self._random.choice((0.02, 0.3))
        return faults.ReadErrors(at_ms=at_ms, for_ms=self._down_ms(), chance=chance, **self._disk())

    def _full_disk(self, at_ms: int) -> AnyFault:
        return faults.FullDisk(at_ms=at_ms, for_ms=self._down_ms(), **self._disk())

    def _slow_disk(self, at_ms: int) -> AnyFault:
        times = self._random.choice((10, 100))
        return faults.SlowDisk(at_ms=at_ms, for_ms=self._down_ms(), times=times, **self._disk())

    def _hung_disk(self, at_ms: int) -> AnyFault:
        return faults.HungDisk(at_ms=at_ms, for_ms=self._down_ms(), **self._disk())

    def _failed_sync(self, at_ms: int) -> AnyFault:
        for_ms = self._random.randint(*LONG_MS)
        return faults.FailedSync(at_ms=at_ms, for_ms=for_ms, **self._disk())

    def _rot(self, at_ms: int) -> AnyFault:
        nth, kind = self._random.randrange(1_000_000), self._random.choice(list(RotKind))
        return faults.Rot(at_ms=at_ms, nth=nth, kind=kind)

    def _lost_volume(self, at_ms: int) -> AnyFault:
        kinds = [Return.ITSELF] if self._plan.work.has_only_replicas else list(Return)
        comes_back, for_ms = self._random.choice(kinds), self._down_ms()
        return faults.LostVolume(at_ms=at_ms, for_ms=for_ms, comes_back=comes_back, **self._disk())

    # ------------------------------------------------------------ the namenode

    def _kill_namenode(self, at_ms: int) -> AnyFault:
        down_ms, turn = self._namenode_down_ms(), self._turn()
        return faults.Kill(at_ms=at_ms, process=NAMENODE, down_ms=down_ms, turn=turn)

    def _power_loss_of_namenode(self, at_ms: int) -> AnyFault:
        down_ms, turn, keeps = self._namenode_down_ms(), self._turn(), self._keeps()
        return faults.PowerLoss(
            at_ms=at_ms, process=NAMENODE, down_ms=down_ms, keeps=keeps, turn=turn
        )

    def _rolling_restart(self, at_ms: int) -> AnyFault:
        down_ms, between_ms = self._random.randint(*SHORT_MS), self._random.randint(*SHORT_MS)
        return faults.RollingRestart(
            at_ms=at_ms,
            down_ms=down_ms,
            between_ms=between_ms,
            killed=self._random.random() < 0.5,
        )

    def _pause_namenode(self, at_ms: int) -> AnyFault:
        return faults.Pause(at_ms=at_ms, process=NAMENODE, for_ms=self._namenode_down_ms())

    def _isolate_namenode(self, at_ms: int) -> AnyFault:
        for_ms, one_way = self._namenode_down_ms(), self._random.random() < 0.3
        return faults.Isolation(at_ms=at_ms, hosts=(NAMENODE,), for_ms=for_ms, one_way=one_way)

    def _slow_namenode_disk(self, at_ms: int) -> AnyFault:
        for_ms = self._namenode_down_ms()
        return faults.SlowDisk(at_ms=at_ms, for_ms=for_ms, times=10, process=NAMENODE)

    def _hung_namenode_disk(self, at_ms: int) -> AnyFault:
        return faults.HungDisk(at_ms=at_ms, for_ms=self._namenode_down_ms(), process=NAMENODE)

    def _full_namenode_disk(self, at_ms: int) -> AnyFault:
        return faults.FullDisk(at_ms=at_ms, for_ms=self._namenode_down_ms(), process=NAMENODE)

    def _failed_sync_of_namenode(self, at_ms: int) -> AnyFault:
        return faults.FailedSync(at_ms=at_ms, for_ms=self._namenode_down_ms(), process=NAMENODE)

    # ------------------------------------------------------------ clients

    def _kill_client(self, at_ms: int) -> AnyFault:
        down_ms, turn = self._random.randint(*SHORT_MS), self._turn()
        return faults.Kill(at_ms=at_ms, process=self._client(), down_ms=down_ms, turn=turn)

    def _pause_client(self, at_ms: int) -> AnyFault:
        return faults.Pause(at_ms=at_ms, process=self._client(), for_ms=self._down_ms())

    def _isolate_client(self, at_ms: int) -> AnyFault:
        for_ms = self._namenode_down_ms()
        return faults.Isolation(at_ms=at_ms, hosts=(self._client(),), for_ms=for_ms)

    # ------------------------------------------------------------ anywhere

    def _cut(self, at_ms: int) -> AnyFault:
        source, target = self._two_hosts()
        for_ms, one_way = self._namenode_down_ms(), self._random.random() < 0.3
        return faults.Cut(at_ms=at_ms, for_ms=for_ms, source=source, target=target, one_way=one_way)

    def _slow_link(self, at_ms: int) -> AnyFault:
        source, target = self._two_hosts()
        return faults.SlowLink(
            at_ms=at_ms,
            for_ms=self._down_ms(),
            source=source,
            target=target,
            delay_ms=self._random.choice((20, 200)),
            bytes_per_s=self._random.choice((1_000_000, 10_000_000)),
        )

    def _packet_loss(self, at_ms: int) -> AnyFault:
        chance = self._random.choice((0.01, 0.1))
        return faults.PacketLoss(at_ms=at_ms, for_ms=self._namenode_down_ms(), chance=chance)

    def _resets(self, at_ms: int) -> AnyFault:
        chance = self._random.choice((0.002, 0.01))
        return faults.Resets(at_ms=at_ms, for_ms=self._namenode_down_ms(), chance=chance)

    def _read_errors_of_namenode(self, at_ms: int) -> AnyFault:
        for_ms, chance = self._random.randint(*LONG_MS), self._random.choice((0.02, 0.3))
        return faults.ReadErrors(at_ms=at_ms, for_ms=for_ms, chance=chance, process=NAMENODE)

    def _clock_jump(self, at_ms: int) -> AnyFault:
        ahead_ms = self._random.randint(-CLOCK_AHEAD_MS, CLOCK_AHEAD_MS)
        return faults.ClockJump(at_ms=at_ms, process=self._daemon(), ahead_ms=ahead_ms)

    def _clock_drift(self, at_ms: int) -> AnyFault:
        parts, for_ms = self._random.randint(-10_000, 10_000), self._down_ms()
        return faults.ClockDrift(
            at_ms=at_ms, process=self._daemon(), parts_per_million=parts, for_ms=for_ms
        )

    # ------------------------------------------------------------ details

    def _datanode(self) -> str:
        return datanode_name(self._random.randrange(self._plan.datanodes))

    def _client(self) -> str:
        return client_name(self._random.randrange(self._plan.clients))

    def _daemon(self) -> str:
        return self._random.choice((NAMENODE, self._datanode(), self._datanode()))

    def _two_hosts(self) -> tuple[str, str]:
        source = self._datanode()
        others = (NAMENODE, self._client(), self._datanode(), self._datanode())
        return source, self._random.choice([name for name in others if name != source])

    def _disk(self) -> "_Disk":
        return {"process": self._datanode(), "volume": self._random.randrange(self._plan.volumes)}

    def _down_ms(self) -> int:
        return self._random.randint(*self._random.choice((SHORT_MS, LONG_MS)))

    def _namenode_down_ms(self) -> int:
        return self._random.randint(*NAMENODE_DOWN_MS)

    def _turn(self) -> int:
        return self._random.choice((0, self._random.randint(0, TURNS_MAX)))

    def _keeps(self) -> Keeps:
        return self._random.choice((Keeps.SOME, Keeps.SOME, Keeps.NOTHING, Keeps.EVERYTHING))


class _Disk(TypedDict):
    process: str
    volume: int
