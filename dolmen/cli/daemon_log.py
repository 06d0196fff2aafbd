"""What a server logs: one line for each event, with time, level, who speaks and what happened.

The lines go to standard error, where a service manager takes them, or with --log-file to a file
that is renamed when it is full: a few of the last ones are kept, so that a log never fills a disk.
Standard error is then left to what is no event: a refusal to start, the last words of a crash.
"""

import logging
import logging.handlers
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from dolmen.protocol.errors import StartRefused

#: Weeks of a quiet cluster; days of one in trouble.
FILE_BYTES = 16 * 1024 * 1024
FILES_KEPT = 3  #: beside the one that is written

#: More lines than any start writes in the time for which they are held.
HELD_LINES_MAX = 10_000

LEVELS = ("debug", "info", "warning", "error")
log_level_option = click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="Log nothing below this.",
)

LINE = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s"


@dataclass(frozen=True)
class LogOptions:
    """Where a server logs, None for standard error, and from which level on."""

    file: Path | None = None
    level: str = "info"


class OneLineFormatter(logging.Formatter):
    """Times in UTC; a traceback on the line of its event; what would break the line escaped, so
    that no name that a client sends can look like an event of its own."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(LINE, "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).replace("\n", " | ")
        if text.isprintable():
            return text
        return "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode()
            for letter in text
        )


def start_log(options: LogOptions) -> logging.handlers.MemoryHandler:
    """Log by way of a handler that holds what is said, until it is let go."""
    # A full disk must not make each event a traceback on standard error.
    logging.raiseExceptions = options.file is None
    target = file_handler(options.file) if options.file else logging.StreamHandler(sys.stderr)
    target.setFormatter(OneLineFormatter())
    held = logging.handlers.MemoryHandler(HELD_LINES_MAX, logging.CRITICAL, target)
    logging.basicConfig(level=options.level.upper(), handlers=[held])
    logging.captureWarnings(True)
    # A line for each segment would be most of the log.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    return held


def file_handler(
    file: Path, file_bytes: int = FILE_BYTES, files_kept: int = FILES_KEPT
) -> logging.Handler:
    """Append to `file`, and begin a new one before it is longer than `file_bytes`."""
    try:
        return logging.handlers.RotatingFileHandler(
            file,
            maxBytes=file_bytes,
            backupCount=files_kept,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except OSError as error:
        raise StartRefused(f"cannot write the log {file}: {error.strerror}") from None


def let_go(held: logging.handlers.MemoryHandler) -> None:
    """Write what is held, and from now on hold nothing."""
    held.flushLevel = logging.NOTSET
    held.flush()
