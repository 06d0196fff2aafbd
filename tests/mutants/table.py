"""The mutants: each breaks one rule, and some property must notice."""

from tests.mutants.bulk_mutants import BULK_MUTANTS
from tests.mutants.draft_mutants import DRAFT_MUTANTS
from tests.mutants.hash_mutants import HASH_MUTANTS
from tests.mutants.hedging_mutants import HEDGING_MUTANTS
from tests.mutants.inline_mutants import INLINE_MUTANTS
from tests.mutants.line_mutants import LINE_MUTANTS
from tests.mutants.local_mutants import LOCAL_MUTANTS
from tests.mutants.mutant import Change, Mutant
from tests.mutants.whole_mutants import WHOLE_MUTANTS

MUTANTS = (
    Mutant(
        "the data of a replica is not synced",
        19,
        "property 1",
        (Change("datanode/volume.py", "        await data.sync()\n", "        pass\n"),),
    ),
    Mutant(
        "the edit log is not synced",
        1,
        "property 3",
        (
            Change(
                "namenode/file_edit_log.py",
                "    await file.write_at(offset, data)\n    await file.sync()\n",
                "    await file.write_at(offset, data)\n",
            ),
        ),
    ),
    Mutant(
        "the directory of a log that was written anew is not synced",
        6,
        "property 3",
        (
            Change(
                "namenode/file_edit_log.py",
                "        await file.sync()\n"
                "        await self._disk.rename(path + NEW_SUFFIX, path)\n"
                "        await self._disk.sync_directory(self._directory)\n",
                "        await file.sync()\n"
                "        await self._disk.rename(path + NEW_SUFFIX, path)\n",
            ),
        ),
    ),
    Mutant(
        "replies are given before the edits are in the log",
        1,
        "property 3",
        (
            Change(
                "namenode/journal.py",
                "            await self._make_durable(decided)\n"
                "            for answer in decided.answers:\n"
                "                self._give(answer)\n",
                "            for answer in decided.answers:\n"
                "                self._give(answer)\n"
                "            await self._make_durable(decided)\n",
            ),
        ),
    ),
    Mutant(
        "a datanode does not look at the stamp",
        14,
        "property 2",
        (
            Change(
                "datanode/core/replicas.py",
                "        if stamp != self.stamp:\n            raise StaleGeneration",
                "        if stamp < 0:\n            raise StaleGeneration",
            ),
        ),
        test="tests/unit/datanode/test_reading_and_copying.py",
    ),
    Mutant(
        "anybody may write a file that another holds the lease of",
        18,
        "property 4",
        (
            Change(
                "namenode/core/leases.py",
                "    if lease.client_id != client_id:\n        raise LeaseConflict",
                "    if not client_id:\n        raise LeaseConflict",
            ),
        ),
        plan="strangers",
    ),
    Mutant(
        "an exclusive create is not looked at again at its close",
        18,
        "property 4",
        (
            Change(
                "namenode/core/files.py",
                "    found = _place_for(case, names, exclusive=request.exclusive)\n    commits",
                "    found = _place_for(case, names, exclusive=False)\n    commits",
            ),
        ),
        seconds=30,
        work="contest",
    ),
    Mutant(
        "what was read stays open",
        20,
        "property 8",
        (
            Change(
                "datanode/reading.py",
                "                finally:\n                    await file.close()\n",
                "                finally:\n                    pass\n",
            ),
        ),
        seconds=30,
    ),
    Mutant(
        "who has opened a file is never forgotten",
        22,
        "property 8",
        (
            Change(
                "namenode/core/reclaim.py",
                "        if oldest[1] < now_ms:\n",
                "        if oldest[1] < 0:\n",
            ),
        ),
        plan="many_readers",
    ),
    Mutant(
        "a connection that was given up is not closed",
        26,
        "property 8",
        (
            Change(
                "datanode/heartbeats.py",
                "            self.registered = False\n            await connection.close()\n",
                "            self.registered = False\n",
            ),
        ),
    ),
    Mutant(
        "leases never end",
        18,
        "property 5",
        (
            Change(
                "namenode/core/leases.py",
                "            if heard_ms > time_ms:\n",
                "            if heard_ms >= 0:\n",
            ),
        ),
    ),
    Mutant(
        "replicas are deleted without proof",
        24,
        "property 6",
        (
            Change(
                "namenode/core/deletions.py",
                "        if holding.worth is Worth.GOOD\n        and holding.datanode.proving\n",
                "        if holding.worth is Worth.GOOD\n",
            ),
        ),
        plan="deaths_while_trimming",
    ),
    Mutant(
        "an order to delete outlives its connection",
        24,
        "property 6",
        (Change("datanode/commands.py", "        self._removals.clear()\n", ""),),
        test="tests/unit/datanode/test_commands.py",
    ),
    Mutant(
        "after a restart every record of an unfinished replica is believed",
        13,
        "property 2",
        (
            Change(
                "datanode/core/receiver.py",
                "            if xxhash.xxh3_64_digest(bytes_of_it) == record.checksum:\n",
                "            if bytes_of_it is not None:\n",
            ),
        ),
        test="tests/unit/datanode/core/test_receiver.py",
    ),
    Mutant(
        "a repeated call is answered anew",
        7,
        "property 3",
        (
            Change(
                "namenode/core/namesystem.py",
                "        if answered is not None:\n",
                "        if answered is not None and not call.client_id:\n",
            ),
        ),
    ),
    Mutant(
        "readers do not verify what they get",
        16,
        "property 2",
        (
            Change(
                "dolmen/client/piece_reader.py",
                "        if bad is not None:\n",
                "        if bad is not None and bad < 0:\n",
            ),
        ),
        seconds=400,
        rot_every_ms=4000,
    ),
    Mutant(
        "excess is trimmed below the wanted number",
        24,
        "property 6",
        (
            Change(
                "namenode/core/excess.py",
                "    while len(remaining) > wanted:\n",
                "    while len(remaining) > max(1, wanted - 1):\n",
            ),
            Change(
                "namenode/core/presence.py",
                "if len(self.serving) > wanted else None",
                "if len(self.serving) >= wanted else None",
            ),
        ),
        seconds=30,
    ),
    Mutant(
        "of a block with too many replicas all are deleted",
        24,
        "property 6",
        (
            Change(
                "namenode/core/excess.py",
                "    while len(remaining) > wanted:\n",
                "    while remaining:\n",
            ),
        ),
    ),
    Mutant(
        "what a datanode has finalized it does not tell",
        17,
        "property 5",
        (
            Change(
                "datanode/writing.py",
                "        store.settled(replica)\n        store.tell(ChangeKind.STORED, replica)\n",
                "        store.settled(replica)\n",
            ),
        ),
    ),
    Mutant(
        "a damaged replica counts as a good one",
        21,
        "property 5",
        (
            Change(
                "namenode/core/block_map.py",
                "    if replica.state == ReplicaState.DAMAGED:\n        return Worth.DAMAGED\n"
                "    if replica.state != ReplicaState.FINALIZED:\n",
                "    if replica.state not in (ReplicaState.FINALIZED, ReplicaState.DAMAGED):\n",
            ),
        ),
        test="tests/unit/namenode/core/test_block_map.py",
    ),
    Mutant(
        "the last replica goes into quarantine",
        21,
        "property 6",
        (
            Change(
                "namenode/core/deletions.py",
                "def _is_vouched_for(held: Sequence[Holding], block_id: int) -> bool:\n",
                "def _is_vouched_for(held: Sequence[Holding], block_id: int) -> bool:\n"
                "    return bool(held)\n\n\n"
                "def _never_asked(held: Sequence[Holding], block_id: int) -> bool:\n",
            ),
        ),
        plan="all_replicas_rot",
    ),
    Mutant(
        "what the tables hold is replayed again",
        6,
        "property 7",
        (
            Change(
                "namenode/recovery.py",
                "                        apply_group(_decoded(group, txid), sheet, txid)\n",
                "                        apply_group(_decoded(group, txid), sheet, txid)\n"
                "                        apply_group(_decoded(group, txid), sheet, txid)\n",
            ),
        ),
    ),
    Mutant(
        "a file is published without waiting for its replicas",
        17,
        "property 1",
        (
            Change(
                "namenode/core/files.py",
                "    if (waits := wait_for(case, inode, unfinished(case, inode, commits)))"
                " is not None:\n        return waits\n",
                "",
            ),
        ),
        test="tests/unit/namenode/core/test_files.py",
    ),
    Mutant(
        "a reader goes on in the file that has the name now",
        22,
        "property 2",
        (
            Change(
                "dolmen/client/file_blocks.py",
                "            request = LocateBlock(known.located.block_id, self._links.host)\n",
                "            from dolmen.protocol.client_messages import GetInfo, LocateBlocks\n"
                "            asked = GetInfo(self._info.path)\n"
                "            now = await self._links.namenode.call(asked, FileInfo)\n"
                "            request = LocateBlocks(now.inode_id, known.index, self._links.host)\n",
            ),
            Change(
                "dolmen/client/file_blocks.py",
                "self._place(known.index, self._pinned(known.located, page.blocks))",
                "self._place(known.index, page.blocks[0])",
            ),
        ),
        work="long_readers,shared",
    ),
    Mutant(
        "blocks of deleted files stay on the disks",
        22,
        "property 5",
        (
            Change(
                "namenode/core/rounds.py",
                "        self._left[ORPHANS] = len(self._parts.intake.orphans)\n",
                "",
            ),
        ),
    ),
    Mutant(
        "a deleted file's blocks go at once",
        22,
        "property 1",
        (
            Change(
                "namenode/core/reclaim.py",
                "        known_ms = self._until_ms.pop(inode_id, 0)\n",
                "        return\n        known_ms = self._until_ms.pop(inode_id, 0)\n",
            ),
        ),
        plan="readers_of_the_deleted",
    ),
    Mutant(
        "two replicas may be placed on one datanode",
        10,
        "property 5",
        (
            Change(
                "namenode/core/placement.py",
                "        self._barred |= {site.datanode_id}\n",
                "",
            ),
        ),
        test="tests/unit/namenode/core/test_placement.py",
    ),
    Mutant(
        "a replaced file is never reclaimed",
        18,
        "property 5",
        (
            Change(
                "namenode/core/apply_reclaim.py",
                "        if block_id is not None:\n            writer.delete(tables.FILE_BLOCKS",
                "        if block_id is None:\n            writer.delete(tables.FILE_BLOCKS",
            ),
        ),
    ),
    *DRAFT_MUTANTS,
    *INLINE_MUTANTS,
    *HASH_MUTANTS,
    *HEDGING_MUTANTS,
    *LINE_MUTANTS,
    *LOCAL_MUTANTS,
    *BULK_MUTANTS,
    *WHOLE_MUTANTS,
)
