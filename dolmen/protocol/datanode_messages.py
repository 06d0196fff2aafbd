"""What a datanode tells the namenode, and the commands it gets back.

A datanode keeps one control connection. It greets, registers, sends its full block report in pages,
then incremental reports and heartbeats, and always has one `AwaitCommands` call pending, in which
commands come back at once. The namenode never opens a connection of its own.
"""

import enum

import msgspec


class ReplicaState(enum.IntEnum):
    """The states of a replica (HDFS: TEMPORARY, RBW, FINALIZED, RWR, RUR)."""

    TEMPORARY = 1
    BEING_WRITTEN = 2
    FINALIZED = 3
    WAITING_FOR_RECOVERY = 4
    UNDER_RECOVERY = 5
    DAMAGED = 6
    """FINALIZED once, and some of its bytes fail their checksums now: never proof, served last, and
    put into quarantine when the namenode says that the block lives elsewhere (rule 21)."""


class StorageStatus(msgspec.Struct, frozen=True, array_like=True):
    """One volume of a datanode; `free_bytes` is what blocks may still take (reserve deducted)."""

    storage_id: str
    capacity_bytes: int
    used_bytes: int
    free_bytes: int


class ReplicaReport(msgspec.Struct, frozen=True, array_like=True):
    """One replica as its datanode knows it; the digest is empty unless it is FINALIZED."""

    block_id: int
    stamp: int
    length_bytes: int
    state: ReplicaState
    digest: bytes = b""


class Request(msgspec.Struct, frozen=True, array_like=True):
    """Base of all requests, for their common encoding only."""


class RegisterDatanode(Request, frozen=True, tag=50):
    """→ Registered. Sent after Greet, on the same connection; `proof` covers the two nonces."""

    datanode_id: str
    proof: bytes
    address: str  # advertised, host:port
    host: str  # label of the machine
    rack: str
    highest_epoch: int
    software_version: str
    storages: tuple[StorageStatus, ...]


class Health(msgspec.Struct, frozen=True, array_like=True):
    """How a datanode's disks fare, for people."""

    failed_volumes: tuple[str, ...] = ()  # each: its directory and why
    quarantined_replicas: int = 0
    quarantined_bytes: int = 0
    oldest_unverified_ms: int | None = None  # age of the replica whose last verification is oldest


class Heartbeat(Request, frozen=True, tag=51):
    """→ HeartbeatTaken. `load` is the number of bulk exchanges under way.

    A volume that is no longer listed has failed: its replicas are gone until it is registered
    again.
    """

    storages: tuple[StorageStatus, ...]
    load: int
    health: Health = Health()


class ReportBlocks(Request, frozen=True, tag=52):
    """→ ReportTaken. One page of a full report of one volume, block ids ascending.

    Pages of one report share `report_id`; the volume's last page has `last`. What the namenode
    believes to be on this volume and no page named is gone.
    """

    storage_id: str
    report_id: int
    replicas: tuple[ReplicaReport, ...]
    first: bool
    last: bool
    all_done: bool  # last page of the last volume: this datanode has reported in full


class ReportChanges(Request, frozen=True, tag=53):
    """→ ReportTaken. An incremental block report: what was stored, finalized, deleted, found
    bad."""

    changes: tuple["ReplicaChange", ...]
    failed_commands: tuple["CommandFailed", ...] = ()
    checked: tuple["ReplicaChecked", ...] = ()


class ChangeKind(enum.IntEnum):
    """What happened to a replica."""

    STORED = 1
    """It exists now in the reported state (being written, or finalized)."""
    DELETED = 2
    """It is gone, on an order or because it never was finished."""
    CORRUPT = 3
    """The datanode itself found it damaged and has put it aside."""


class ReplicaChange(msgspec.Struct, frozen=True, array_like=True):
    """One change of one replica on one volume."""

    kind: ChangeKind
    storage_id: str
    replica: ReplicaReport


class CommandFailed(msgspec.Struct, frozen=True, array_like=True):
    """A command that could not be carried out, and why; it will be planned again.

    `bad_sources` are datanodes whose replica of the block, of this stamp, gave bytes that fail its
    checksums: they are to look for themselves. Without a reason no command failed, and this is all
    there is.
    """

    block_id: int
    reason: str
    bad_sources: tuple[str, ...] = ()
    stamp: int = 0


class ReplicaChecked(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a CheckReplica: the whole replica was read from disk and compared.

    `problem` is empty if it is sound; else what is wrong, as of a replica that is not there.
    """

    block_id: int
    stamp: int
    problem: str = ""


class AwaitCommands(Request, frozen=True, tag=54):
    """→ Commands, as soon as there are any, or empty after `patience_ms`."""

    patience_ms: int


class LocateToHash(Request, frozen=True, tag=55):
    """→ LocatedBlocks: a page of the file that this datanode was told to hash, and a sign that it
    is at it. StaleHandle when the file is another now, or the order is void."""

    inode_id: int
    changed_txid: int
    first_index: int


class FileHashed(Request, frozen=True, tag=56):
    """→ Done. The hash of all bytes of a file as it is since `changed_txid`; empty, with the
    `problem`, if it could not be computed."""

    inode_id: int
    changed_txid: int
    content_hash: bytes
    problem: str = ""


DatanodeRequest = (
    RegisterDatanode
    | Heartbeat
    | ReportBlocks
    | ReportChanges
    | AwaitCommands
    | LocateToHash
    | FileHashed
)


# ---------------------------------------------------------------- commands


class Command(msgspec.Struct, frozen=True, array_like=True):
    """Base of all commands. Each but HashFile names block and stamp; both must fit what the
    datanode holds."""


class TransferReplica(Command, frozen=True, tag=1):
    """Make a replica of this block here, copying it from one of the sources that `token` names."""

    block_id: int
    stamp: int
    length_bytes: int
    digest: bytes
    token: bytes  # COPY; its targets are the sources, nearest first


class InvalidateReplica(Command, frozen=True, tag=2):
    """Delete this replica: proof exists that the block does not need it (rules 7 of §1, 24)."""

    block_id: int
    stamp: int


class CheckReplica(Command, frozen=True, tag=3):
    """Read this replica and compare it with its checksums; answered by ReplicaChecked, after the
    change if it is damaged."""

    block_id: int
    stamp: int


class QuarantineReplica(Command, frozen=True, tag=5):
    """Put this DAMAGED replica into quarantine: the block lives elsewhere."""

    block_id: int
    stamp: int


class HashFile(Command, frozen=True, tag=6):
    """Read a file whole, as it is since `changed_txid`, and tell its hash; void with the connection
    that it came over."""

    inode_id: int
    changed_txid: int


ReplicaCommand = TransferReplica | InvalidateReplica | CheckReplica | QuarantineReplica
AnyCommand = ReplicaCommand | HashFile


# ---------------------------------------------------------------- replies


class Registered(msgspec.Struct, frozen=True, array_like=True, tag=150):
    """Welcome: adopt this epoch, send a heartbeat this often, now report in full."""

    epoch: int
    heartbeat_interval_ms: int


class HeartbeatTaken(msgspec.Struct, frozen=True, array_like=True, tag=151):
    """The namenode has heard; a lower epoch than the adopted one is to be refused."""

    epoch: int


class ReportTaken(msgspec.Struct, frozen=True, array_like=True, tag=152):
    """The report is in the block map."""


class Commands(msgspec.Struct, frozen=True, array_like=True, tag=153):
    """Orders of the namenode that holds `epoch`; possibly none."""

    epoch: int
    commands: tuple[AnyCommand, ...]


DatanodeReply = Registered | HeartbeatTaken | ReportTaken | Commands
