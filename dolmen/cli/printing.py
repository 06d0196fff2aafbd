"""Rows for standard output as they come: on a terminal each at once, otherwise many together."""

import json
import sys
from types import TracebackType
from typing import Any

import click

#: A write for each row would cost more than finding it.
ROWS_TOGETHER = 1000


class Rows:
    """Prints rows; as a context manager it prints the last ones, too."""

    def __init__(self) -> None:
        self._rows: list[str] = []
        self._together = 1 if sys.stdout.isatty() else ROWS_TOGETHER

    def add(self, row: str) -> None:
        self._rows.append(row)
        if len(self._rows) >= self._together:
            self.flush()

    def add_document(self, document: dict[str, Any]) -> None:
        """One JSON object on a line of its own."""
        self.add(json.dumps(document))

    def flush(self) -> None:
        rows, self._rows = self._rows, []
        click.echo("".join(f"{row}\n" for row in rows), nl=False)

    def __enter__(self) -> "Rows":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush()
