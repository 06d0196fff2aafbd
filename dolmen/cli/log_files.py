"""The logs of a cluster that `dolmen up` has started: for each process one of its events, which it
rotates itself, and beside it what it wrote to standard error, mostly nothing."""

from pathlib import Path

LINES_SHOWN = 5
BYTES_READ = 16 * 1024

#: Standard error has a few lines for each crash; what is longer is put aside at the next start.
STDERR_BYTES = 1 << 20


def log_of(directory: Path, role: str, index: int) -> Path:
    """Where a process logs its events."""
    return directory / "logs" / f"{_name(role, index)}.log"


def stderr_of(directory: Path, role: str, index: int) -> Path:
    """Where the standard error of a process goes; what was there before is kept, within limits."""
    file = directory / "logs" / f"{_name(role, index)}.stderr.log"
    try:
        if file.stat().st_size > STDERR_BYTES:
            file.replace(f"{file}.1")
    except FileNotFoundError:
        pass
    return file


def last_log_of(directory: Path, role: str, index: int) -> Path:
    """The one of the two that was written last: there stands why a process has ended."""
    log = log_of(directory, role, index)
    stderr = stderr_of(directory, role, index)
    return stderr if _written(stderr) > _written(log) else log


def last_lines(log: Path) -> list[str]:
    """The end of a log, to show why its process did not do what it should."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - BYTES_READ))
            text = stream.read(BYTES_READ).decode(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-LINES_SHOWN:]


def _name(role: str, index: int) -> str:
    return "namenode" if role == "namenode" else f"datanode-{index}"


def _written(file: Path) -> int:
    """When it was written last; an empty one never was."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return 0
    return found.st_mtime_ns if found.st_size else 0
