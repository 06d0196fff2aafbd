"""What operators ask the namenode about the cluster, and have it do.

They come over the same connection and in the same way as a client's other calls (see
`client_messages`, whose tags they share).
"""

import enum

import msgspec

BALANCE_LIFE_S = 10.0
"""A second longer than three calls lost one after another take."""


class Request(msgspec.Struct, frozen=True, array_like=True):
    """Base of all requests, for their common encoding only."""


class GetReport(Request, frozen=True, tag=6):
    """→ ClusterReport. Answered in safe mode too."""


class InspectTree(Request, frozen=True, tag=9):
    """→ Inspection of `path` and what is below it, page by page; what `fsck` asks.

    `after` is as in WalkTree. A page ends after `limit` entries or a time, whichever is first.
    """

    path: str
    after: str = ""
    limit: int = 1000


class VerifyBlocks(Request, frozen=True, tag=10):
    """→ Verification. Has every datanode that holds a replica of these blocks read and check it.

    `path`, `after` and `limit` name the files whose blocks are meant, as in InspectTree. Returns
    when all have answered, or after `patience_ms` with the number still awaited: ask again with the
    same arguments.
    """

    path: str
    after: str = ""
    limit: int = 100
    patience_ms: int = 5000


class SafeModeAction(enum.IntEnum):
    """What may be done about safe mode."""

    GET = 0
    ENTER = 1
    LEAVE = 2


class ChangeSafeMode(Request, frozen=True, tag=11):
    """→ SafeModeState. One entered by hand lasts until it is left by hand, or a restart."""

    action: SafeModeAction = SafeModeAction.GET


class WriteCheckpoint(Request, frozen=True, tag=12):
    """→ CheckpointWritten: it counts (rule 5). TryAgain while another one is being written."""


class Balance(Request, frozen=True, tag=13):
    """→ BalanceProgress. Moves replicas until each datanode's use is within `threshold_percent` of
    the cluster's mean.

    Balancing goes on for BALANCE_LIFE_S after the last such call, so that whoever asked can be
    interrupted; `stop` ends it at once. One asks at a time: AccessDenied names the other.
    """

    threshold_percent: float = 10.0
    stop: bool = False


class ReloadTopology(Request, frozen=True, tag=14):
    """→ TopologyReloaded. Reads the topology file again; InvalidRequest if it has an error, and
    then everything stays as it was."""


class SetAdminState(Request, frozen=True, tag=30):
    """→ DatanodeReported. `datanode` is its id, a unique start of it, or its address.

    `admin_state` is IN_SERVICE, DECOMMISSIONING or MAINTENANCE; a decommissioning datanode becomes
    DECOMMISSIONED by itself when no block needs it any more. `until_ms` ends MAINTENANCE (0:
    never); until then its replicas count although it is away.
    """

    datanode: str
    admin_state: str
    until_ms: int = 0


OperatorRead = (
    GetReport
    | InspectTree
    | VerifyBlocks
    | ChangeSafeMode
    | WriteCheckpoint
    | Balance
    | ReloadTopology
)
OperatorMutation = SetAdminState


# ---------------------------------------------------------------- replies


class DatanodeReport(msgspec.Struct, frozen=True, array_like=True):
    """One datanode as `dolmen report` shows it."""

    id: str
    address: str
    host: str
    rack: str
    state: str  # LIVE, STALE, DEAD
    admin_state: str  # IN_SERVICE, DECOMMISSIONING, DECOMMISSIONED, MAINTENANCE
    capacity_bytes: int
    used_bytes: int
    blocks: int
    last_heartbeat_s: float | None
    free_bytes: int = 0
    draining_blocks: int = 0  # that keep a leaving datanode from being DECOMMISSIONED
    draining_open_blocks: int = 0  # of these, blocks that are being written
    failed_volumes: tuple[str, ...] = ()
    quarantined_replicas: int = 0
    quarantined_bytes: int = 0
    oldest_unverified_ms: int | None = None


class ClusterReport(msgspec.Struct, frozen=True, array_like=True, tag=108):
    """The cluster as `dolmen report` shows it."""

    version: str
    safe_mode: bool
    live_datanodes: int
    stale_datanodes: int
    dead_datanodes: int
    files: int
    blocks: int
    capacity_bytes: int
    used_bytes: int
    under_replicated_blocks: int
    over_replicated_blocks: int
    mis_replicated_blocks: int
    missing_blocks: int
    corrupt_replicas: int
    pending_transfers: int
    datanodes: tuple[DatanodeReport, ...]
    free_bytes: int = 0
    safe_mode_reason: str = ""
    inline_files: int = 0  # whose bytes the namenode keeps
    inline_bytes: int = 0


class DatanodeReported(msgspec.Struct, frozen=True, array_like=True, tag=109):
    """The datanode that was named, as it is now."""

    datanode: DatanodeReport


class ProblemKind(enum.IntEnum):
    """What can be wrong with a block, or with a replica of it."""

    UNDER_REPLICATED = 1
    OVER_REPLICATED = 2
    MIS_REPLICATED = 3
    MISSING = 4
    CORRUPT = 5
    """A replica is damaged and not replaced yet; the block can be read."""


class Problem(msgspec.Struct, frozen=True, array_like=True):
    """One block that is not as it should be, and why it still is not."""

    path: str  # empty for a file that is not published
    block_id: int
    kind: ProblemKind
    live: int
    wanted: int
    reason: str
    expected_in_s: float | None  # None: not before something changes


class Inspection(msgspec.Struct, frozen=True, array_like=True, tag=110):
    """One page of what `fsck` finds; the figures count what this page looked at.

    `open_files` and `trash_files` are of the whole namespace and only on the first page. The next
    page begins after `after`; there is none if `more` is false.
    """

    files: int
    directories: int
    blocks: int
    replicas: int
    length_bytes: int
    problems: tuple[Problem, ...]
    after: str
    more: bool
    open_files: int = 0  # being written, published nowhere yet
    trash_files: int = 0  # deleted or replaced, and kept for a while
    inline_files: int = 0  # among the files: those whose bytes the namenode keeps
    inline_bytes: int = 0


class Verification(msgspec.Struct, frozen=True, array_like=True, tag=111):
    """How far a page of VerifyBlocks is; the figures are of this page."""

    pending: int  # replicas that have not answered
    sound: int
    damaged: int
    unanswered: int  # replicas whose datanode is gone, or could not judge: nobody can say
    after: str
    more: bool
    findings: tuple[Problem, ...] = ()  # CORRUPT: the first damaged ones of a page that has ended


class SafeModeState(msgspec.Struct, frozen=True, array_like=True, tag=112):
    """Whether the namenode is in safe mode, and why."""

    on: bool
    reason: str


class CheckpointWritten(msgspec.Struct, frozen=True, array_like=True, tag=113):
    """A checkpoint of everything up to `txid` counts."""

    txid: int


class BalanceProgress(msgspec.Struct, frozen=True, array_like=True, tag=114):
    """How far balancing is. Until it has `ended`, `reason` says what it waits for, if it does; then
    it says why, and the next call would begin anew. It may end with some still `moving`: they are
    brought to their end."""

    balanced: bool
    moving: int  # replicas under way
    moved_replicas: int
    moved_bytes: int
    left_bytes: int  # beyond what the threshold allows, on all datanodes together
    reason: str = ""
    ended: bool = False


class TopologyReloaded(msgspec.Struct, frozen=True, array_like=True, tag=115):
    """The topology file was read; the racks of `changed` datanodes are others now."""

    changed: int
    racks: int


OperatorReply = (
    ClusterReport
    | DatanodeReported
    | Inspection
    | Verification
    | SafeModeState
    | CheckpointWritten
    | BalanceProgress
    | TopologyReloaded
)
