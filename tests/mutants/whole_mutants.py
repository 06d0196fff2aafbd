"""The mutants of blocks that are finalized as they arrive."""

from tests.mutants.mutant import Change, Mutant

WHOLE_MUTANTS = (
    Mutant(
        "the names of a short block's replica are not synced",
        19,
        "property 1",
        (
            Change(
                "datanode/whole.py",
                "    await lasting(volume.sync_directory(Place.FINALIZED, contents.block_id))\n",
                "",
            ),
        ),
    ),
)
