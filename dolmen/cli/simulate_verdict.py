"""What a simulated cluster has to keep, and which of it a run found broken.

A finding names the file of its checker. What none of them found is an error that nobody expected of
a process.
"""

from dataclasses import dataclass

from dolmen.simulation.finding import CheckFailed


@dataclass(frozen=True)
class Property:
    """What must hold in every run, and the files that check it."""

    number: int
    sentence: str
    files: frozenset[str]


PROPERTIES = (
    Property(
        1,
        "every acknowledged byte is readable and equal",
        frozenset({"acknowledged_bytes"}),
    ),
    Property(
        2,
        "no read brings a byte that was not written there",
        frozenset({"true_reads", "generations"}),
    ),
    Property(
        3,
        "the history of the namespace is linearizable",
        frozenset({"linearizable", "linearizer", "namespace_history"}),
    ),
    Property(4, "a file has one writer", frozenset({"one_writer"})),
    Property(
        5,
        "every block heals within a bound, and nothing is left over",
        frozenset({"healing"}),
    ),
    Property(
        6,
        "the last good replica is never deleted or put aside",
        frozenset({"last_replica"}),
    ),
    Property(7, "the edit log, replayed, gives what lives", frozenset({"replay"})),
    Property(
        8,
        "tasks, connections and files return to their idle level",
        frozenset({"idle_level", "extra_load"}),
    ),
)


def broken_property(error: BaseException | None) -> Property | None:
    """Return which property's checker found this; None if none of them did."""
    checker = error.checker if isinstance(error, CheckFailed) else ""
    return next((wanted for wanted in PROPERTIES if checker in wanted.files), None)


def verdict(held: bool, error: BaseException | None = None) -> list[str]:
    """Return a line for each property, and what they come to."""
    if held:
        lines = [f"held     {wanted.number}  {wanted.sentence}" for wanted in PROPERTIES]
        return [*lines, "verdict: every property held"]
    broken = broken_property(error)
    lines = [
        f"{'BROKEN ' if wanted is broken else 'unknown'}  {wanted.number}  {wanted.sentence}"
        for wanted in PROPERTIES
    ]
    if broken is not None:
        return [*lines, f"verdict: property {broken.number} is broken; see docs/testing.md"]
    return [*lines, "verdict: BROKEN by an error that nobody expected"]
