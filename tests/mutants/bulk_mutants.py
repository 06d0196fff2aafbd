"""The mutants of bulk connections: the simulated network has one for each exchange."""

from tests.mutants.mutant import Change, Mutant

BULK_MUTANTS = (
    Mutant(
        "a connection goes on behind a body that was read in part",
        20,
        "property 2",
        (
            Change(
                "dolmen/runtime/bulk_asking.py",
                "if not (self._sent and self._body is not None and self._body.complete):\n",
                "if not self._sent:\n",
            ),
            Change(
                "dolmen/runtime/bulk_pool.py",
                "        if link.is_quiet:\n",
                "        if link.is_open:\n",
            ),
        ),
        test="tests/unit/runtime/test_bulk_connections.py"
        "::test_a_connection_that_cannot_be_gone_on_with_is_not_used_again",
    ),
)
