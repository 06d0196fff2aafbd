"""Standard input, output and error as a command may rely on them.

A shell can start a command with one of them closed (`>&-`). Its number would then go to whatever is
opened next, a connection say, and what is printed would be sent there. So a closed one is taken up
first, by something on which its use fails as it does on a closed one: that is an error to be told,
and a command that does not use it is not concerned.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any

STANDARD_INPUT = 0
STANDARD_OUTPUT = 1

NAMES = {STANDARD_INPUT: "standard input", STANDARD_OUTPUT: "standard output"}

#: By number, the wrong way round; an error that nobody can see is no reason to fail.
INSTEAD = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)


class StandardOutput(FileIO):
    """Says of what fails that it was standard output."""

    def write(self, data: Any, /) -> Any:
        with told_with_name(self):
            return super().write(data)


@contextlib.contextmanager
def told_with_name(stream: FileIO) -> Iterator[None]:
    """What fails with `stream` says which file that is."""
    try:
        yield
    except OSError as error:
        error.filename = NAMES.get(stream.fileno(), stream.name)
        raise


def is_of_standard_output(error: Exception) -> bool:
    """Whether nothing more can be printed."""
    return isinstance(error, OSError) and error.filename == NAMES[STANDARD_OUTPUT]


def take_up_closed_streams() -> None:
    """Open what is closed of the three, so that nothing else gets their numbers."""
    for number, flags in enumerate(INSTEAD):
        try:
            os.fstat(number)
        except OSError:
            _open_as(number, flags)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - for the process's life


def name_standard_output() -> None:
    """Print by way of something that names itself in errors, and escapes what its encoding does not
    have."""
    before = sys.stdout
    if before is not sys.__stdout__:
        return  # somebody collects it, or it is done
    if before is not None:
        before.flush()
    sys.stdout = TextIOWrapper(
        BufferedWriter(StandardOutput(STANDARD_OUTPUT, "w", closefd=False)),
        encoding=before.encoding if before is not None else None,
        errors="backslashreplace",
        line_buffering=before is not None and before.line_buffering,
    )


def forget_standard_output() -> None:
    """Nobody reads any more: what is still buffered must not fail once again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STANDARD_OUTPUT)
    os.close(nowhere)


def _open_as(number: int, flags: int) -> None:
    opened = os.open(os.devnull, flags)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
