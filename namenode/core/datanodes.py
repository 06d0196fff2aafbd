"""The datanodes as the namenode sees them: who lives, who is silent, who is gone.

A datanode is LIVE while its connection stands and heartbeats come, STALE as soon as the connection
is lost or nothing was heard for `stale_after`, and DEAD when it has been STALE for `dead_after`.
Silence is counted on a clock that runs only while this process itself ran (rule 26): a namenode
that was stopped for a minute finds its datanodes as it left them. One known from before a restart
is waited for as if it had been heard at the start.

When many vanish within a minute it is more likely the network than the disks: repair goes on,
because it only adds, and deletions of live blocks wait.
"""

import enum
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from dolmen.protocol.datanode_messages import Health, RegisterDatanode, StorageStatus
from dolmen.protocol.tokens import Target
from namenode.core.records import AdminState, Datanode, Storage
from namenode.core.roster import Roster
from namenode.core.topology import Topology

VANISHED_WINDOW_MS = 60_000
"""Datanodes that vanish within a minute of each other have most likely one cause (rule 26)."""

VANISHED_SHARE = 10
"""More than one in so many, and more than one, is too many for a coincidence."""


MAY_BE_AWAY = (AdminState.DECOMMISSIONED, AdminState.MAINTENANCE)
"""That such a datanode is not there is nobody's worry."""


class Liveness(enum.IntEnum):
    """Whether a datanode was heard of recently."""

    LIVE = 1
    STALE = 2
    DEAD = 3


class Volume(msgspec.Struct):
    """A storage of a datanode, and how many replicas it was reported to hold."""

    number: int
    status: StorageStatus
    reported: bool = False  # in full since its datanode registered


class Order(msgspec.Struct):
    """A replica that its datanode is to do away with; repeated until it says that it is gone."""

    stamp: int
    orphan: bool = False  # its block has left the namespace
    sent_ms: int | None = None
    quarantine: bool = False  # put aside, not deleted: it is damaged


class DatanodeState(msgspec.Struct):
    """One datanode: what it said of itself, when, and what it was told to do."""

    datanode_id: str
    number: int
    address: str
    host: str
    rack: str
    admin_state: AdminState
    liveness: Liveness
    stale_since_ms: int
    heard_ms: int | None = None
    registered: bool = False  # since this start: it has adopted this epoch
    connected: bool = False
    reported: bool = False  # in full since it registered last
    report_moved_ms: int = 0  # when a page of the report under way came
    load: int = 0
    volumes: dict[int, Volume] = {}
    orders: dict[int, Order] = {}  # by block id
    checks: dict[int, int] = {}  # block id → stamp: replicas that somebody found damaged
    vouchers: dict[int, int] = {}  # block id → stamp: read whole, and good; 0: to be read
    promised_bytes: int = 0  # to replicas on their way here
    transfers: int = 0  # on their way here
    room_bytes: int = 0  # free on the volume with most room
    capacity_bytes: int = 0  # of all volumes
    used_bytes: int = 0  # by blocks, on all volumes
    maintenance_until_ms: int = 0  # on the wall's clock; 0: until somebody ends it
    health: Health = Health()
    own_rack: str = ""  # what it says itself; the topology file may say otherwise

    @property
    def free_bytes(self) -> int:
        """Room for one more replica, with what is on its way taken off."""
        return self.room_bytes - self.promised_bytes

    @property
    def use(self) -> float:
        """The share of its space that blocks take."""
        return self.used_bytes / max(self.capacity_bytes, 1)

    @property
    def target(self) -> Target:
        """This datanode as a member of a pipeline."""
        return Target(self.datanode_id, self.address)

    @property
    def usable(self) -> bool:
        """Whether new replicas may go here."""
        return self.liveness is Liveness.LIVE and self.admin_state is AdminState.IN_SERVICE

    @property
    def proving(self) -> bool:
        """Whether its replicas prove that others may be deleted (rule 24)."""
        heard = self.liveness is Liveness.LIVE and self.registered and self.reported
        return heard and self.admin_state is not AdminState.DECOMMISSIONED

    @property
    def leaves(self) -> bool:
        """Whether its replicas count for nothing, because it is to be taken away."""
        return self.admin_state in (AdminState.DECOMMISSIONING, AdminState.DECOMMISSIONED)

    def take_status(self, storages: Iterable[StorageStatus]) -> None:
        """Remember the space on each volume still listed."""
        statuses = {status.storage_id: status for status in storages}
        for volume in self.volumes.values():
            volume.status = statuses.get(volume.status.storage_id, volume.status)
        known = [volume.status for volume in self.volumes.values()]
        self.room_bytes = max((status.free_bytes for status in known), default=0)
        self.capacity_bytes = sum(status.capacity_bytes for status in known)
        self.used_bytes = sum(status.used_bytes for status in known)


class Patience(msgspec.Struct, frozen=True):
    """How long silence is borne."""

    stale_after_ms: int
    dead_after_ms: int


class Change(msgspec.Struct, frozen=True):
    """A datanode became LIVE again, STALE or DEAD."""

    datanode_id: str
    liveness: Liveness
    before: Liveness


class Datanodes:
    """All datanodes of the cluster, those included that have not returned since the start."""

    def __init__(self, patience: Patience, now_ms: int) -> None:
        self._patience = patience
        self._by_id: dict[str, DatanodeState] = {}
        self._by_number: dict[int, DatanodeState] = {}
        self._by_storage: dict[int, DatanodeState] = {}
        self._seen_ms = now_ms
        self.ran_ms = 0
        """Milliseconds that the loop has run: the clock of silence."""
        self.replica_counts: Counter[int] = Counter()
        """Reported replicas by storage."""
        self._topology = Topology()
        self._roster: Roster[DatanodeState] | None = None

    def __iter__(self) -> Iterator[DatanodeState]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, datanode_id: str) -> DatanodeState | None:
        """Return the datanode of this id, if it is known."""
        return self._by_id.get(datanode_id)

    def numbered(self, numbers: Iterable[int]) -> list[DatanodeState]:
        """Return the datanodes of these numbers, as records of blocks name them."""
        return [self._by_number[number] for number in numbers]

    def holder(self, storage_number: int) -> DatanodeState | None:
        """Return the datanode that now has this storage."""
        return self._by_storage.get(storage_number)

    def expect(self, record: Datanode) -> None:
        """A datanode known from before the start: STALE, and waited for like one just heard."""
        self._keep(self._state_of(record, self.ran_ms + self._patience.stale_after_ms))

    def join(
        self, record: Datanode, request: RegisterDatanode, storages: Iterable[Storage]
    ) -> Change:
        """A datanode registered: LIVE at once, its orders forgotten, its report to come.

        Returns what it was before; a new one counts as having been LIVE.
        """
        known = self._by_id.get(record.datanode_id)
        self._roster = None
        state = self._state_of(record, stale_since_ms=0)
        state.liveness = Liveness.LIVE
        state.registered = state.connected = True
        state.heard_ms = state.report_moved_ms = self.ran_ms
        statuses = {status.storage_id: status for status in request.storages}
        state.volumes = {
            storage.number: Volume(storage.number, statuses[storage.storage_id])
            for storage in storages
        }
        state.reported = not state.volumes  # of none there is nothing to come
        state.take_status(request.storages)
        if known is not None:
            self._forget_volumes(known, known.volumes)
        self._keep(state)
        self._by_storage |= dict.fromkeys(state.volumes, state)
        before = Liveness.LIVE if known is None else known.liveness
        return Change(state.datanode_id, Liveness.LIVE, before)

    def lose(self, datanode_id: str) -> None:
        """The connection of this datanode is gone: STALE at once. Its orders are void: what it
        still holds will be in its next report."""
        state = self._by_id[datanode_id]
        state.connected = False
        state.orders.clear()
        state.checks.clear()
        state.vouchers.clear()
        if state.liveness is Liveness.LIVE:
            state.liveness, state.stale_since_ms = Liveness.STALE, self.ran_ms

    def hear(self, datanode_id: str, storages: tuple[StorageStatus, ...], load: int) -> list[int]:
        """A heartbeat of a connected datanode: LIVE. Returns the volumes that it has lost."""
        state = self._by_id[datanode_id]
        state.heard_ms, state.load = self.ran_ms, load
        if state.liveness is not Liveness.LIVE:
            state.liveness, self._roster = Liveness.LIVE, None
        listed = {status.storage_id for status in storages}
        lost = [n for n, v in state.volumes.items() if v.status.storage_id not in listed]
        self._forget_volumes(state, lost)
        state.take_status(storages)
        return lost

    def advance(self, now_ms: int) -> list[Change]:
        """Let time pass; return who became STALE or DEAD, in a fixed order.

        Of a gap since the last call at most half of `stale_after` counts as silence.
        """
        gap_ms = now_ms - self._seen_ms
        self.ran_ms += min(gap_ms, max(1, self._patience.stale_after_ms // 2))
        self._seen_ms = now_ms
        self._roster = None
        changes = []
        for state in self._by_id.values():
            before = state.liveness
            self._judge(state)
            if state.liveness is not before:
                changes.append(Change(state.datanode_id, state.liveness, before))
        return changes

    def _judge(self, state: DatanodeState) -> None:
        if state.liveness is Liveness.LIVE and state.heard_ms is not None:
            silent_since_ms = state.heard_ms + self._patience.stale_after_ms
            if self.ran_ms >= silent_since_ms:
                state.liveness, state.stale_since_ms = Liveness.STALE, silent_since_ms
        if state.liveness is Liveness.STALE:
            stale_for_ms = self.ran_ms - state.stale_since_ms
            if stale_for_ms >= self._patience.dead_after_ms:
                state.liveness = Liveness.DEAD

    def _forget_volumes(self, state: DatanodeState, numbers: Iterable[int]) -> None:
        for number in list(numbers):
            del state.volumes[number]
            del self._by_storage[number]

    def set_admin_state(
        self, datanode_id: str, admin_state: AdminState, maintenance_until_ms: int
    ) -> DatanodeState:
        """Somebody said, or it was found, that this datanode leaves, rests or serves."""
        state = self._by_id[datanode_id]
        state.admin_state, state.maintenance_until_ms = admin_state, maintenance_until_ms
        self._roster = None
        return state

    def take_topology(self, topology: Topology) -> list[DatanodeState]:
        """Take over what the topology file says; return the datanodes whose rack is another now."""
        self._topology, self._roster = topology, None
        changed = []
        for state in self._by_id.values():
            before, state.rack = state.rack, self._rack_of(state)
            if state.rack != before:
                changed.append(state)
        return changed

    def _rack_of(self, state: DatanodeState) -> str:
        rack = self._topology.rack_of(state.datanode_id, state.address, state.host)
        return state.own_rack if rack is None else rack

    def roster(self) -> Roster[DatanodeState]:
        """Return those that were usable at the last tick or newer change, to be drawn from; whoever
        draws looks whether one still is."""
        if self._roster is None:
            self._roster = Roster(self.usable())
        return self._roster

    def usable(self) -> list[DatanodeState]:
        """Return those that new replicas may go to."""
        return [state for state in self._by_id.values() if state.usable]

    def count(self, liveness: Liveness) -> int:
        """Return how many are LIVE, STALE or DEAD."""
        return sum(state.liveness is liveness for state in self._by_id.values())

    def vanished(self) -> str | None:
        """Return why deletions wait, if too many datanodes vanished within the last minute."""
        count = sum(
            state.liveness is not Liveness.LIVE
            and state.admin_state not in MAY_BE_AWAY
            and self.ran_ms - state.stale_since_ms < VANISHED_WINDOW_MS
            for state in self._by_id.values()
        )
        if count <= 1 or count * VANISHED_SHARE <= len(self._by_id):
            return None
        return f"{count} of {len(self._by_id)} datanodes are away since less than a minute"

    def awaited(self) -> str | None:
        """Return whose full report is still to come, if one is: its blocks are not known yet, and
        repairing them would copy what exists. A report that makes no progress is not waited for."""
        for state in self._by_id.values():
            if state.liveness is Liveness.DEAD or state.reported:
                continue
            if state.admin_state is AdminState.DECOMMISSIONED:
                continue
            moved_ms = max(state.report_moved_ms, state.stale_since_ms)
            if self.ran_ms - moved_ms < self._patience.dead_after_ms:
                return f"datanode {state.datanode_id} has not reported in full yet"
        return None

    def _keep(self, state: DatanodeState) -> None:
        self._by_id[state.datanode_id] = self._by_number[state.number] = state

    def _state_of(self, record: Datanode, stale_since_ms: int) -> DatanodeState:
        state = DatanodeState(
            record.datanode_id,
            record.number,
            record.address,
            record.host,
            record.rack,
            record.admin_state,
            Liveness.STALE,
            stale_since_ms,
            own_rack=record.rack,
            maintenance_until_ms=record.maintenance_until_ms,
        )
        state.rack = self._rack_of(state)
        return state
