"""Who has good replicas, looked up on the disks: what an all-knowing spectator sees.

Faults ask it before they take something away, and nobody else does: what a checker believes comes
from elsewhere. A replica is good if it is finalized, its checksum file is whole, and its bytes are
those that the file was written for; of several stamps only the highest counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from datanode.core.layout import Place, marker_name, parse_name
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.lives import Lives
from dolmen.simulation.sim_inode import SimInode
from dolmen.simulation.sim_storage import SimDirectory

NAMES_KEPT = 10_000
"""More than are on the disks of a run at a time."""

_parse_name = lru_cache(NAMES_KEPT)(parse_name)
"""A census is taken at every fault, and each time meets the same names."""


@dataclass(frozen=True)
class GoodReplica:
    """One replica that could be read."""

    block_id: int
    stamp: int
    datanode: str
    directory: str
    """Which of the datanode's volumes it is on."""
    data: SimInode
    checksums: SimInode


class Census:
    """All good replicas at this moment."""

    def __init__(self, datanodes: list[Lives]) -> None:
        found = [
            replica
            for lives in datanodes
            for directory in lives.machine.volumes
            for replica in _good_replicas(lives, directory)
        ]
        stamps: dict[int, int] = {}
        for replica in found:
            stamps[replica.block_id] = max(replica.stamp, stamps.get(replica.block_id, 0))
        self.good = sorted(
            (replica for replica in found if replica.stamp == stamps[replica.block_id]),
            key=lambda replica: (replica.block_id, replica.datanode, replica.directory),
        )

    def holders(self, block_id: int) -> set[str]:
        """Return the datanodes that have a good replica of a block."""
        return {replica.datanode for replica in self.good if replica.block_id == block_id}

    def only_on(self, datanode: str, others: set[str]) -> list[int]:
        """Return the blocks that a datanode has and none of the `others`."""
        elsewhere = {r.block_id for r in self.good if r.datanode in others - {datanode}}
        here = {replica.block_id for replica in self.good if replica.datanode == datanode}
        return sorted(here - elsewhere)


def _good_replicas(lives: Lives, directory: str) -> Iterator[GoodReplica]:
    storage = lives.machine.storage
    try:
        tree = storage.directory(f"{directory}/volumes/0/{Place.FINALIZED.value}")
    except OSError:
        return  # never used so far, or gone
    for names in _leaves(tree):
        for name, data in names.items():
            parsed = _parse_name(name)
            if parsed is None or parsed[1] is not None:
                continue
            for stamp, checksums in _checksum_files(names, parsed[0]):
                if isinstance(data, SimInode) and _fits(data, checksums):
                    machine = lives.machine.name
                    yield GoodReplica(parsed[0], stamp, machine, directory, data, checksums)


def _leaves(directory: SimDirectory) -> Iterator[dict[str, SimInode | SimDirectory]]:
    yield directory.entries
    for node in directory.entries.values():
        if isinstance(node, SimDirectory):
            yield from _leaves(node)


def _checksum_files(
    names: dict[str, SimInode | SimDirectory], block_id: int
) -> Iterator[tuple[int, SimInode]]:
    for name, node in names.items():
        parsed = _parse_name(name)
        if parsed is None or parsed[0] != block_id or parsed[1] is None:
            continue
        marked = marker_name(block_id, parsed[1]) in names
        if isinstance(node, SimInode) and not marked:
            yield parsed[1], node


def _fits(data: SimInode, checksums: SimInode) -> bool:
    return not (data.rotten or checksums.rotten or data.unreadable or checksums.unreadable)


def victim(cluster: SimCluster, process: str) -> Lives | None:
    """Return a process that may be taken away, or something of it; None if it has not started or
    lacks a disk (a datanode that finds none refuses to start), or if it alone holds a good replica
    of some block, as far as those go that are there now; where files of one replica are wanted,
    they are away with it."""
    lives = cluster.lives[process]
    if not lives.has_started or not lives.machine.has_its_disks:
        return None
    if cluster.plan.work.has_only_replicas:
        return lives
    others = {each.machine.name for each in cluster.datanodes if each.is_up}
    return None if Census(cluster.datanodes).only_on(process, others) else lives
