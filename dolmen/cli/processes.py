"""Background processes that outlive the command that started them.

A process is known by its pid, the moment it started and the boot it started in: a pid alone may by
now belong to another program. Signals go through a pidfd that is opened before that is checked, so
that they never reach a process that took the pid in between. A zombie does not run.
"""

import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import dolmen

#: In /proc/PID/stat, counted from behind the name, which may itself contain spaces and brackets.
STATE_FIELD = 0
STARTED_FIELD = 19

ENDED_STATES = ("Z", "X")

#: A killed process ends as soon as the kernel lets go of it: a slow disk may keep it a while.
KILL_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Process:
    """A process as it was when it was started."""

    pid: int
    started_ticks: int  #: since boot
    boot_id: str

    @property
    def running(self) -> bool:
        found = _stat(self.pid)
        return (
            found is not None
            and found[STATE_FIELD] not in ENDED_STATES
            and int(found[STARTED_FIELD]) == self.started_ticks
            and read_boot_id() == self.boot_id
        )


def start_process(words: list[str], log: Path) -> Process:
    """Start `dolmen WORDS` detached: own session, nothing inherited, output appended to `log`."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "dolmen", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            close_fds=True,
            start_new_session=True,
            cwd="/",
            env=_environment(),
        )
    child.returncode = 0  # it is meant to outlive us: no warning that it does
    return identify(child.pid)


def identify(pid: int) -> Process:
    """A child of ours that nobody has waited for, so that its line is there even if it ended."""
    found = _stat(pid)
    if found is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return Process(pid, int(found[STARTED_FIELD]), read_boot_id())


def stop_processes(processes: list[Process], patience_s: float) -> list[Process]:
    """Ask all to end, end those that do not within `patience_s`; return the ones that had to be.

    All are gone when this returns; TimeoutError if one does not even go when it is killed.
    """
    handles = {}
    try:
        for process in processes:
            handle = _open_handle(process)
            if handle is not None:
                handles[handle] = process
        for handle in handles:
            _send(handle, signal.SIGTERM)
        stubborn = _await_end(set(handles), patience_s)
        for handle in stubborn:
            _send(handle, signal.SIGKILL)
        for handle in _await_end(stubborn, KILL_PATIENCE_S):
            raise _hanging(handles[handle])
        return [handles[handle] for handle in stubborn]
    finally:
        for handle in handles:
            os.close(handle)


def send_signal(process: Process, number: signal.Signals) -> bool:
    """Send it a signal; return whether it was there to get it."""
    handle = _open_handle(process)
    if handle is None:
        return False
    try:
        _send(handle, number)
    finally:
        os.close(handle)
    return True


def kill_process(process: Process) -> None:
    """End it at once; it is gone when this returns. TimeoutError if it does not go."""
    handle = _open_handle(process)
    if handle is None:
        return
    try:
        _send(handle, signal.SIGKILL)
        if _await_end({handle}, KILL_PATIENCE_S):
            raise _hanging(process)
    finally:
        os.close(handle)


def _hanging(process: Process) -> TimeoutError:
    return TimeoutError(f"process {process.pid} does not end though it was killed: its disk hangs")


def read_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 1 :].split()


def _open_handle(process: Process) -> int | None:
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if process.running:
        return handle
    os.close(handle)
    return None


def _send(handle: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return


def _await_end(handles: set[int], patience_s: float) -> set[int]:
    """Wait until all have ended or `patience_s` are over; return those that have not."""
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    remaining = set(handles)
    deadline = time.monotonic() + patience_s
    while remaining and (left_s := deadline - time.monotonic()) > 0:
        for handle, _ in poll.poll(left_s * 1000):
            poll.unregister(handle)
            remaining.discard(handle)
    return remaining


def _environment() -> dict[str, str]:
    """Ours, and where this Dolmen is if it runs from a clone that is not installed.

    Without our own variables: what they say is in the flags, and a relative DOLMEN_CONFIG would
    lead elsewhere.
    """
    ours = {name: text for name, text in os.environ.items() if not name.startswith("DOLMEN_")}
    place = Path(dolmen.__file__).resolve().parents[1]
    if place.name not in ("site-packages", "dist-packages"):
        others = os.environ.get("PYTHONPATH")
        ours["PYTHONPATH"] = f"{place}{os.pathsep}{others}" if others else str(place)
    return ours
