"""The mutants of the hashes of files that grow."""

from tests.mutants.mutant import Change, Mutant

HASH_MUTANTS = (
    Mutant(
        "the hash of what a file was before it grew is taken for its own",
        12,
        "property 2",
        (
            Change(
                "namenode/core/content_hashes.py",
                "inode.lacks_hash and inode.changed_txid == changed_txid",
                "inode.lacks_hash and inode.changed_txid >= changed_txid",
            ),
            Change(
                "namenode/core/apply_drafts.py",
                "    if inode.changed_txid != edit.changed_txid:\n",
                "    if inode.changed_txid < edit.changed_txid:\n",
            ),
        ),
        test="tests/unit/namenode/core/test_hashing.py::test_the_hash_of_what_a_file_was_is_dropped",
    ),
    Mutant(
        "a file that grows keeps its hash",
        12,
        "property 2",
        (
            Change(
                "namenode/core/apply_drafts.py",
                "        content_hash=hash_of_length(inode.length_bytes),\n",
                "",
            ),
        ),
        work="append",
    ),
)
