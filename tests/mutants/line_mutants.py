"""The mutants of threads that ask the namenode themselves."""

from tests.mutants.mutant import Change, Mutant

LINE_MUTANTS = (
    Mutant(
        "what a thread asked in vain is asked again under another number",
        7,
        "property 3",
        (
            Change(
                "dolmen/client/connection.py",
                "        again = self._ask(call, expected, bearing, earlier)\n",
                "        again = self.call(request, expected)\n",
            ),
        ),
        test="tests/integration/test_fsspec_lines.py"
        "::test_a_change_whose_replies_are_lost_is_done_once",
    ),
)
