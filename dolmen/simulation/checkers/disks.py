"""What is on the simulated disks, read past the daemons: what the checkers believe."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from datanode.core.layout import Place, block_directory, checksums_name, data_name, parse_name
from dolmen.protocol.checksums import block_digest, chunk_checksums
from dolmen.protocol.errors import DataDamaged
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.lives import Lives
from dolmen.simulation.sim_storage import SimDirectory, SimStorage
from namenode.core.records import BLOCK, INODE, Block, Inode
from namenode.core.tables import (
    BLOCKS,
    DETACHED,
    DOOMED,
    INODES,
    LEASES,
    UNHASHED,
    View,
    number_key,
)


class Stored:
    """What the namenode's durable tables hold, decoded."""

    def __init__(self, cluster: SimCluster) -> None:
        self.blocks: dict[int, Block] = {}
        self.inodes: dict[int, Inode] = {}
        with cluster.open_namenode_tables(read_only=True).snapshot() as view:
            for _, value in view.scan(BLOCKS):
                block = BLOCK.decode(value)
                self.blocks[block.block_id] = block
            for _, value in view.scan(INODES):
                inode = INODE.decode(value)
                self.inodes[inode.inode_id] = inode
            self.leases = view.count(LEASES)
            self.doomed = view.count(DOOMED) + view.count(DETACHED)
            self.unhashed = view.count(UNHASHED)


def read_stored(cluster: SimCluster) -> Stored | None:
    """Return what the tables hold; None if a loss of power took them, until they are built anew."""
    try:
        return Stored(cluster)
    except DataDamaged:
        return None


def find_live(cluster: SimCluster, block_id: int) -> tuple[Block, Inode] | None:
    """Return a block that belongs to a published file, and the file; None for any other block."""
    if not cluster.namenode.is_running:
        return None  # it gives no orders, and what it left may be damaged
    try:
        tables = cluster.open_namenode_tables(read_only=True)
    except DataDamaged:
        return None  # it has just started, and builds them anew
    with tables.snapshot() as view:
        value = view.get(BLOCKS, number_key(block_id))
        if value is None:
            return None
        block = BLOCK.decode(value)
        inode = _inode(view, block.inode_id)
        if inode is None or not inode.published or inode.doomed_due_ms:
            return None
        above = inode
        while above.parent_id:
            if view.get(DETACHED, number_key(above.parent_id)) is not None:
                return None
            parent = _inode(view, above.parent_id)
            if parent is None or parent.parent_id == above.parent_id:
                break
            above = parent
        return block, inode


def find_blocks(cluster: SimCluster, paths: Iterable[str]) -> list[str]:
    """Return the hexadecimal ids of the blocks of files whose path, or one above, is given."""
    named = [path for path in paths if path.startswith("/")]
    stored = read_stored(cluster) if named else None
    if stored is None:
        return []
    return [
        f"{block.block_id:016x}"
        for block in stored.blocks.values()
        if path_of(stored, stored.inodes.get(block.inode_id)).startswith(tuple(named))
    ]


def path_of(stored: Stored, inode: Inode | None) -> str:
    """Return where an inode stands, or what is left of that."""
    names: list[str] = []
    while inode is not None and inode.name:
        names.append(inode.name)
        inode = stored.inodes.get(inode.parent_id)
    return "/" + "/".join(reversed(names))


def _inode(view: View, inode_id: int) -> Inode | None:
    value = view.get(INODES, number_key(inode_id))
    return None if value is None else INODE.decode(value)


@dataclass(frozen=True)
class DiskReplica:
    """The data file of a replica on one datanode's disk."""

    datanode: str
    block_id: int
    place: Place
    data: bytes


def replicas_on(cluster: SimCluster) -> list[DiskReplica]:
    """Return every replica on the disks of the datanodes, finished or not."""
    return [
        DiskReplica(lives.machine.name, block_id, place, data)
        for lives in cluster.datanodes
        for volume in volumes_of(lives)
        for place in (Place.FINALIZED, Place.BEING_WRITTEN)
        for block_id, data in _data_files(lives.machine.storage, f"{volume}/{place.value}")
    ]


def volumes_of(lives: Lives) -> list[str]:
    """Return the directories of a datanode's volumes."""
    return [f"{directory}/volumes/0" for directory in lives.machine.volumes]


def has_good(lives: Lives, block: Block) -> bool:
    """Return whether a datanode's disks have a finalized replica that is what was committed, also
    if it does not let anybody read it just now."""
    return any(is_good_on(volume, lives, block) for volume in volumes_of(lives))


def is_good_on(volume: str, lives: Lives, block: Block) -> bool:
    """Return whether one volume of a datanode has such a replica."""
    storage = lives.machine.storage
    directory = f"{volume}/{block_directory(Place.FINALIZED, block.block_id)}"
    try:
        storage.file(f"{directory}/{checksums_name(block.block_id, block.stamp)}")
        file = storage.file(f"{directory}/{data_name(block.block_id)}")
    except OSError:
        return False
    data = bytes(file.data)
    return not file.unreadable and block_digest(len(data), chunk_checksums(data)) == block.digest


def _data_files(storage: SimStorage, top: str) -> Iterator[tuple[int, bytes]]:
    """Yield (block id, bytes) of the data files in one tree of a volume."""
    pending = [top]
    while pending:
        path = pending.pop()
        try:
            names = sorted(storage.directory(path).entries)
        except OSError:
            continue
        for name in names:
            below = f"{path}/{name}"
            if isinstance(storage.find(below), SimDirectory):
                pending.append(below)
            elif (parsed := parse_name(name)) and parsed[1] is None:
                yield parsed[0], bytes(storage.file(below).data)
