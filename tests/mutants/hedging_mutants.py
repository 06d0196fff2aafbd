"""The mutants of readers that ask a second replica when the first is late."""

from tests.mutants.mutant import Change, Mutant

HEDGING_MUTANTS = (
    Mutant(
        "who lost a race goes on writing into the reader's memory",
        20,
        "property 2",
        (
            Change(
                "dolmen/client/hedging.py",
                "            await _end(first)\n            twin.give(contest.read)\n",
                "            twin.give(contest.read)\n",
            ),
            Change(
                "dolmen/client/hedging.py",
                "        finally:\n            await _end(first)\n",
                "        finally:\n"
                "            first.add_done_callback(\n"
                "                lambda loser: loser.cancelled() or loser.exception())\n",
            ),
        ),
        work="hurried_readers",
    ),
    Mutant(
        "readers ask twice without bound",
        20,
        "property 8",
        (
            Change(
                "dolmen/client/core/hedge_budget.py",
                "        if self._requests < 1 or self._bytes < length_bytes:\n",
                "        if not self._share:\n",
            ),
        ),
        work="hurried_readers",
    ),
)
