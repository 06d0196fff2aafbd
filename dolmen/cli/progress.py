"""How far a transfer is: a bar on a terminal, nothing in a pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Meter(Protocol):
    """Told how much there is to move, and each piece that has moved."""

    def expect(self, length_bytes: int) -> None: ...

    def advance(self, length_bytes: int) -> None: ...


class NoMeter:
    """Shows nothing."""

    def expect(self, length_bytes: int) -> None:
        """Nobody looks."""

    def advance(self, length_bytes: int) -> None:
        """Nobody looks."""


@contextmanager
def meter(title: str, *, quiet: bool) -> Iterator[Meter]:
    """A bar on standard error while the block runs, if that is a terminal and not `quiet`."""
    if quiet or not sys.stderr.isatty():
        yield NoMeter()
        return
    # Slow to load, and needed only here.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=0)

        class Bar:
            """All files of the command as one bar."""

            expected_bytes = 0

            def expect(self, length_bytes: int) -> None:
                self.expected_bytes += length_bytes
                progress.update(task, total=self.expected_bytes)

            def advance(self, length_bytes: int) -> None:
                progress.advance(task, length_bytes)

        yield Bar()
