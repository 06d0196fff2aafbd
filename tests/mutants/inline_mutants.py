"""The mutants of files that the namenode keeps itself."""

from tests.mutants.mutant import Change, Mutant

INLINE_MUTANTS = (
    Mutant(
        "an inline file is cut and its bytes are not",
        18,
        "property 3",
        (
            Change(
                "namenode/core/extending.py",
                "load_content(case.view, plan.target)[: plan.length_bytes]",
                "load_content(case.view, plan.target)",
            ),
        ),
        work="truncate",
    ),
)
