"""The eight properties that every run must keep, one file for each: see `checkers.suite`."""
