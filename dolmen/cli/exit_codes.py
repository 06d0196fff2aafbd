"""What a command ends with: a code for scripts and one line for people, from an error."""

import os

from dolmen.protocol.errors import (
    AccessDenied,
    BlockMissing,
    DataDamaged,
    DolmenError,
    NoSpace,
    NoSuchPath,
    OutcomeUnknown,
    RequestRefused,
    SafeMode,
    StartRefused,
    TooFewDatanodes,
    TryAgain,
    Unreachable,
)
from dolmen.runtime.setting import SettingsError

EXIT_SOME_FAILED = 1
EXIT_NO = 1  #: what `dolmen test` answers
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_REFUSED = 4
EXIT_PERMISSION = 5
EXIT_UNREACHABLE = 6
EXIT_DAMAGED = 7
EXIT_INTERRUPTED = 130  #: as a shell reports death by SIGINT
EXIT_BROKEN_PIPE = 141  #: as a shell reports death by SIGPIPE
EXIT_SIGNALLED = 128  #: and the signal's number: as a shell reports death by SIGTERM or SIGHUP

#: The first class that fits decides.
CODES: tuple[tuple[type[Exception], int], ...] = (
    (SettingsError, EXIT_USAGE),
    (NoSuchPath, EXIT_NOT_FOUND),
    (AccessDenied, EXIT_PERMISSION),
    (NoSpace, EXIT_REFUSED),
    (RequestRefused, EXIT_REFUSED),
    (StartRefused, EXIT_REFUSED),
    (TryAgain, EXIT_UNREACHABLE),
    (Unreachable, EXIT_UNREACHABLE),
    (DataDamaged, EXIT_DAMAGED),
    (FileNotFoundError, EXIT_NOT_FOUND),
    (PermissionError, EXIT_PERMISSION),
    (FileExistsError, EXIT_REFUSED),
    (IsADirectoryError, EXIT_REFUSED),
    (NotADirectoryError, EXIT_REFUSED),
    (ConnectionError, EXIT_UNREACHABLE),
    (TimeoutError, EXIT_UNREACHABLE),
)

#: What to do next, where the error cannot know that somebody sits at a command line.
NEXT: tuple[tuple[type[DolmenError], str], ...] = (
    (BlockMissing, "dolmen report shows which datanodes are away"),
    (TooFewDatanodes, "dolmen report shows how they are"),
    (NoSpace, "dolmen df shows what room there is"),
    (SafeMode, "dolmen report shows what it waits for"),
    (OutcomeUnknown, "look whether it was done before you repeat it"),
)


def exit_code_of(error: Exception) -> int:
    for kind, code in CODES:
        if isinstance(error, kind):
            return code
    return EXIT_SOME_FAILED


def describe(error: Exception) -> str:
    """One line: what is concerned, what is wrong with it; nothing that would steer a terminal."""
    if isinstance(error, DolmenError):
        text = error.message
        if error.path and error.path not in (word.strip("'\":;,.") for word in text.split()):
            text = f"{error.path}: {text}"
        text = "; ".join([text, *(hint for kind, hint in NEXT if isinstance(error, kind))])
    elif isinstance(error, OSError) and error.filename is not None:
        text = f"{os.fspath(error.filename)}: {error.strerror}"
    else:
        text = str(error) or type(error).__name__
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in " ".join(text.split())
    )
