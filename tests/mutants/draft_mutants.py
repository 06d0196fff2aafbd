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
        "a lease is taken over while its holder is heard",
        18,
        "property 4",
        (
            Change(
                "namenode/core/drafts.py",
                "    if silent_ms >= limit_ms:\n",
                "    if silent_ms >= 0:\n",
            ),
        ),
        work="recover_lease",
    ),
    Mutant(
        "anybody may extend a file through the draft of another",
        18,
        "property 4",
        (
            Change(
                "namenode/core/extending.py",
                "    draft = held_file(case.view, request.draft_id, case.client_id)\n",
                "    anybody = (find_lease(case.view, request.draft_id) or case).client_id\n"
                "    draft = held_file(case.view, request.draft_id, anybody)\n",
            ),
        ),
        work="recover_lease",
    ),
    Mutant(
        "files are joined while they are being written",
        18,
        "property 4",
        (
            Change(
                "namenode/core/concat.py",
                "    if inode.draft_id:\n",
                "    if inode.draft_id < 0:\n",
            ),
        ),
        work="append,recover_lease",
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
    Mutant(
        "who follows a file goes on behind a cut",
        22,
        "property 2",
        (
            Change(
                "dolmen/client/follow.py",
                "    if now.info.cut_txid == before.info.cut_txid or position == 0:\n",
                "    if position >= 0:\n",
            ),
        ),
        work="follow_changes",
    ),
)
