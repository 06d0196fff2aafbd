"""The mutants of files that grow, are cut and are joined."""

from tests.mutants.mutant import Change, Mutant

DRAFT_MUTANTS = (
    Mutant(
        "a writer whose draft was taken over goes on",
        18,
        "property 4",
        (
            Change(
                "namenode/core/drafts.py",
                "    if not target.draft_id:\n        return (), ()\n",
                "    if target.draft_id >= 0:\n        return (), ()\n",
            ),
        ),
        work="recover_lease",
    ),
    Mutant(
        "a short last block that was written again stays",
        15,
        "property 3",
        (
            Change(
                "namenode/core/extending.py",
                "    if offset_bytes == inode.length_bytes:\n        return inode.block_count\n",
                "    if offset_bytes >= 0:\n        return inode.block_count\n",
            ),
        ),
        work="append",
    ),
    Mutant(
        "what is cut off is deleted at once",
        22,
        "property 1",
        (
            Change(
                "namenode/core/extending.py",
                "target.inode_id, case.due_ms, case.now_ms)",
                "target.inode_id, case.now_ms, case.now_ms)",
            ),
            Change(
                "namenode/core/extending.py",
                "effects += (BlocksForgotten(gone), readers)\n",
                "effects += (BlocksForgotten(gone), readers)[:1]\n",
            ),
        ),
        plan="readers_of_the_cut",
    ),
    Mutant(
        "who follows a file is given the last byte of each version again",
        12,
        "property 2",
        (
            Change(
                "dolmen/client/follow.py",
                "pieces = read_in_order(reader, position, reader.length_bytes)",
                "pieces = read_in_order(reader, max(0, position - 1), reader.length_bytes)",
            ),
        ),
        work="follow",
    ),
)
