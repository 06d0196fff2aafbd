"""The faults of `dolmen drill`, each from the check that a good replica remains to healing."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from dolmen.cli.drill_cluster import Drill
from dolmen.client import Client
from dolmen.protocol.client_messages import EntryKind, FileInfo, LocatedBlock
from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.identifiers import format_block_id
from dolmen.protocol.operator_messages import ClusterReport

#: More than any code that could mend it by itself; it lies within one chunk or two.
FLIPPED_BYTES = 64

#: Enough to draw from; a tree may have millions.
FILES_DRAWN_FROM = 1000


# ---------------------------------------------------------------- corrupt


@dataclass(frozen=True)
class Target:
    """A block of a file, and the datanodes whose replicas of it are to be damaged."""

    block: LocatedBlock
    damaged: tuple[int, ...]
    kept: tuple[int, ...]
    replicas_of_file: int


async def corrupt(drill: Drill, path: str | None, replicas: int) -> bool:
    """Flip bytes in replicas of a block; return whether all was healed in time."""
    random = Random()
    report = await drill.require_health()
    path = path or await _draw_file(drill, replicas, random)
    target = await _choose(drill, path, replicas, random)
    files = [drill.replica_file(index, target.block.block_id) for index in target.damaged]
    deadline = drill.begin(f"{path}: all {target.replicas_of_file} replicas were read and are good")
    for index, file in zip(target.damaged, files, strict=True):
        at = flip_bytes(file, random)
        drill.tell(f"datanode {index}: {FLIPPED_BYTES} bytes flipped at {at} of {file}")
    kept = ", ".join(str(index) for index in target.kept)
    drill.tell(f"good ones of the block are left on: datanode {kept}")
    healed = await _until_sound(drill, path, target.replicas_of_file, deadline)
    after = await drill.client.report()
    if _quarantined(after) > _quarantined(report):
        drill.tell("what was damaged is kept in quarantine: see dolmen report, dolmen quarantine")
    return healed


async def _draw_file(drill: Drill, replicas: int, random: Random) -> str:
    found: list[str] = []
    async for entry in drill.client.walk_tree("/"):
        if min(_replication(entry), len(drill.cluster.datanodes)) > replicas:
            found.append(entry.path)
            if len(found) >= FILES_DRAWN_FROM:
                break
    if not found:
        raise InvalidRequest(f"no file here has more than {replicas} replicas: dolmen put one")
    return random.choice(found)


async def _choose(drill: Drill, path: str, replicas: int, random: Random) -> Target:
    """Draw a block that keeps a good replica; InvalidRequest if there is none."""
    blocks = [block async for block in drill.client.locate_blocks(path)]
    if not blocks:
        raise InvalidRequest(f"{path} has no blocks: there is nothing to damage", path)
    fitting = [block for block in blocks if len(_holders(block)) > replicas]
    if not fitting:
        most = max(len(_holders(block)) for block in blocks)
        raise InvalidRequest(
            f"to damage {replicas} would take the last good replica: {path} has {most} of a block",
            path,
        )
    count = sum(len(_holders(block)) for block in blocks)
    await _require_sound(drill.client, path, count)
    block = random.choice(fitting)
    holders = [drill.index_of(address) for address in _holders(block)]
    random.shuffle(holders)
    return Target(block, tuple(holders[:replicas]), tuple(sorted(holders[replicas:])), count)


async def _require_sound(client: Client, path: str, count: int) -> None:
    sound, damaged, unanswered = await _verify(client, path)
    if damaged or unanswered or sound < count:
        raise InvalidRequest(
            f"not every replica of {path} is known to be good: {sound} of {count} are sound,"
            f" {damaged} damaged; see dolmen fsck --verify {path}",
            path,
        )


async def _verify(client: Client, path: str) -> tuple[int, int, int]:
    """Have all replicas of a file read; return how many are sound, damaged, and not judged."""
    sound = damaged = unanswered = 0
    async for page in client.operator.verify(path):
        if not page.pending:
            sound += page.sound
            damaged += page.damaged
            unanswered += page.unanswered
    return sound, damaged, unanswered


async def _until_sound(drill: Drill, path: str, count: int, deadline: float) -> bool:
    """Have the file read and checked until all its replicas are good again."""
    drill.tell(f"{path} is read and checked, as by dolmen fsck --verify")
    told = (count, 0, 0)
    while True:
        found = await _verify(drill.client, path)
        if found != told:
            drill.tell(f"{found[0]} replicas are sound, {found[1]} damaged")
            told = found
        whole = await drill.watch.until_whole(deadline)
        if found[0] >= count and not found[1] and not found[2] and whole:
            return True
        if time.monotonic() > deadline:
            return False
        await drill.watch.pause()


def flip_bytes(file: Path, random: Random) -> int:
    """Turn some bytes of a file into others, on disk; return where they begin."""
    with file.open("r+b") as stream:
        size = os.fstat(stream.fileno()).st_size
        at = random.randrange(max(1, size - FLIPPED_BYTES + 1))
        stream.seek(at)
        data = stream.read(FLIPPED_BYTES)
        stream.seek(at)
        stream.write(bytes(byte ^ 0xFF for byte in data))
        stream.flush()
        os.fsync(stream.fileno())
    return at


def _holders(block: LocatedBlock) -> list[str]:
    """Return the addresses of those that have a replica and are heard of."""
    return [replica.address for replica in block.replicas if not replica.stale]


def _quarantined(report: ClusterReport) -> int:
    return sum(datanode.quarantined_replicas for datanode in report.datanodes)


# ---------------------------------------------------------------- kill, pause


async def kill(drill: Drill, index: int | None, *, leave_dead: bool) -> bool:
    """Kill a datanode; return whether all was healed in time. Unless it is to stay dead it is
    started again, also when the drill is interrupted."""
    index = Random().randrange(len(drill.cluster.datanodes)) if index is None else index
    others = len(drill.cluster.datanodes) - 1
    replication = await _require_others(drill, index)
    spare = others >= replication
    if leave_dead and not spare:
        raise InvalidRequest(
            f"{others} datanodes cannot hold {replication} replicas: leave out --leave-dead, or"
            f" dolmen up --dir {drill.directory} --datanodes {replication + 1}"
        )
    deadline = drill.begin(f"kill -9 of datanode {index} at {drill.address(index)}")
    try:
        drill.kill(index)
        healed = await drill.watch.until(_repaired(drill.address(index), spare), deadline)
        if healed and not spare:
            drill.tell(f"{replication} replicas need {replication} datanodes: it has to come back")
    finally:
        if not leave_dead:
            drill.start_again()
    if leave_dead:
        return healed
    return await drill.watch.until_whole(deadline) and healed


def _repaired(address: str, spare: bool) -> Callable[[ClusterReport], bool]:
    """Whether the death is known, and what can be done about it without the dead is done."""

    def holds(report: ClusterReport) -> bool:
        states = {datanode.address: datanode.state for datanode in report.datanodes}
        lacking = report.under_replicated_blocks or report.missing_blocks
        return states.get(address) == "DEAD" and not (
            report.pending_transfers or (spare and lacking)
        )

    return holds


async def pause(drill: Drill, index: int | None, pause_ms: int) -> bool:
    """Stop a datanode's process for a while; return whether all was healed in time after that.
    However the drill ends, the process goes on."""
    index = Random().randrange(len(drill.cluster.datanodes)) if index is None else index
    await _require_others(drill, index)
    drill.begin(f"datanode {index} at {drill.address(index)} is stopped for {pause_ms / 1000:g} s")
    try:
        drill.signal(index, signal.SIGSTOP)
        over = time.monotonic() + pause_ms / 1000
        await drill.watch.until(lambda _: time.monotonic() >= over, over)
    finally:
        drill.signal(index, signal.SIGCONT)
    drill.tell(f"datanode {index} goes on")
    return await drill.watch.until_whole(time.monotonic() + drill.within_s)


async def _require_others(drill: Drill, index: int) -> int:
    """Return the greatest replication of a file, once it is sure that every block lives also
    elsewhere than on this datanode; else InvalidRequest."""
    address, greatest = drill.address(index), 1
    await drill.require_health()
    async for entry in drill.client.walk_tree("/"):
        greatest = max(greatest, _replication(entry))
        if _replication(entry) == 1:
            async for block in drill.client.locate_blocks(entry.path):
                if set(_holders(block)) <= {address}:
                    raise InvalidRequest(
                        f"datanode {index} has the last good replica of block"
                        f" {format_block_id(block.block_id)} of {entry.path}: dolmen setrep 2"
                        f" {entry.path} makes another",
                        entry.path,
                    )
    return greatest


def _replication(entry: FileInfo) -> int:
    """Return how many replicas a file's blocks are to have; 0 if it has no blocks."""
    return entry.replication if entry.kind is EntryKind.FILE and entry.length_bytes else 0
