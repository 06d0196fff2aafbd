"""`cluster.toml`: what `dolmen up` must remember of the cluster in a directory.

The file is the mark that the directory is a cluster's. It is replaced whole, so that a reader
without the lock sees the old state or the new one; who changes it holds the lock on the directory.
"""

import contextlib
import fcntl
import os
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from dolmen.cli.processes import Process
from dolmen.protocol.errors import StartRefused

FORMAT = "dolmen local cluster"
VERSION = 1

FILE_NAME = "cluster.toml"
NEW_FILE_NAME = "cluster.toml.new"

#: A directory with only these is empty: our own interrupted start, and what a new disk comes with.
COUNTS_AS_EMPTY = frozenset({NEW_FILE_NAME, "lost+found"})

#: Longer than `down` holds the lock: it waits 10 s for SIGTERM to be heeded, then for SIGKILL.
LOCK_PATIENCE_S = 30.0


class Member(msgspec.Struct):
    """One process of the cluster: its port, and the process that was last started for it."""

    port: int
    process: Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.running


class Cluster(msgspec.Struct):
    """All of it. `settings` are those that were named; the cluster id is "" until it is known."""

    namenode: Member
    datanodes: list[Member]
    settings: dict[str, str] = {}
    cluster_id: str = ""

    @property
    def url(self) -> str:
        return f"dolmen://{self.namenode.address}"

    @property
    def members(self) -> list[tuple[str, int, Member]]:
        """(role, index within the role, member), the namenode first."""
        datanodes = [("datanode", index, member) for index, member in enumerate(self.datanodes)]
        return [("namenode", 0, self.namenode), *datanodes]


def read_cluster(directory: Path) -> Cluster | None:
    """The cluster in `directory`; None where there is none. StartRefused for what is not ours."""
    try:
        content = (directory / FILE_NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        table = tomllib.loads(content.decode())
        if table.pop("format", None) != FORMAT:
            raise StartRefused(f"{directory / FILE_NAME} is not a file of dolmen up")
        version = table.pop("format_version", None)
        if version != VERSION:
            raise StartRefused(
                f"{directory / FILE_NAME} has format version {version}, this Dolmen knows"
                f" {VERSION}: use the Dolmen that made it, or a newer one"
            )
        return msgspec.convert(table, Cluster)
    except (ValueError, msgspec.ValidationError) as error:
        raise StartRefused(f"{directory / FILE_NAME} is damaged: {error}") from error


def write_cluster(directory: Path, cluster: Cluster) -> None:
    """Replace the file; it is on disk when this returns."""
    new = directory / NEW_FILE_NAME
    try:
        with new.open("w", encoding="utf-8") as stream:
            stream.write(_to_toml(cluster))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:  # that of a full disk names none
        raise OSError(error.errno, error.strerror, str(new)) from error
    new.replace(directory / FILE_NAME)
    _sync_directory(directory)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep others from starting and stopping processes of this cluster meanwhile."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(handle, directory)
        yield
    finally:
        os.close(handle)


def is_empty(directory: Path) -> bool:
    """Whether nothing is there that a new cluster could harm; a missing directory is empty."""
    try:
        return all(entry.name in COUNTS_AS_EMPTY for entry in directory.iterdir())
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return False


def _lock(handle: int, directory: Path) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = f"another dolmen up or down has been working on {directory} for too long"
                raise StartRefused(message) from None
            time.sleep(0.05)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _to_toml(cluster: Cluster) -> str:
    lines = [
        "# Kept by `dolmen up` and `dolmen down`.",
        f"format = {_quote(FORMAT)}",
        f"format_version = {VERSION}",
        f"cluster_id = {_quote(cluster.cluster_id)}",
        "",
        "[settings]",
        *(f"{name} = {_quote(text)}" for name, text in cluster.settings.items()),
        "",
        "[namenode]",
        *_member_lines(cluster.namenode),
    ]
    for member in cluster.datanodes:
        lines += ["", "[[datanodes]]", *_member_lines(member)]
    return "\n".join(lines) + "\n"


def _member_lines(member: Member) -> list[str]:
    lines = [f"port = {member.port}"]
    if member.process is not None:
        fields: dict[str, Any] = msgspec.to_builtins(member.process)
        pairs = ", ".join(
            f"{name} = {_quote(value) if isinstance(value, str) else value}"
            for name, value in fields.items()
        )
        lines.append(f"process = {{ {pairs} }}")
    return lines


def _quote(text: str) -> str:
    """A TOML basic string; JSON's escapes are among TOML's."""
    return msgspec.json.encode(text).decode()
