"""One simulated file system: its space, and what is wrong with it."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

DEFAULT_CAPACITY_BYTES = 1 << 40


@dataclass(eq=False)
class SimDevice:
    """What the files of one file system have in common."""

    number: int = 1
    capacity_bytes: int = DEFAULT_CAPACITY_BYTES
    used_bytes: int = 0
    syncs_to_fail: int = 0
    """So many of the next syncs fail."""
    read_only: bool = False
    broken: bool = False
    """Every operation fails."""
    slowness: float = 1.0
    """Each step takes so many times as long."""
    hangs: bool = False
    """No operation goes on until `go_on`."""
    parked: list[Callable[[], object]] = field(default_factory=list)
    """What waits for that."""
    read_errors: float = 0.0
    """So often a read fails although the next one may not."""
    random: Random = field(default_factory=lambda: Random(0))
    full: int = 0
    """While it is not 0, somebody else takes all that is free."""

    def go_on(self) -> None:
        """The device no longer hangs."""
        self.hangs = False
        parked, self.parked = self.parked, []
        for operation in parked:
            operation()

    def check_readable(self) -> None:
        """Raise what a read meets."""
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def check_read(self) -> None:
        """Raise what reading bytes meets."""
        self.check_readable()
        if self.read_errors and self.random.random() < self.read_errors:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    @property
    def free_bytes(self) -> int:
        """Return how much more fits."""
        return 0 if self.full else max(self.capacity_bytes - self.used_bytes, 0)

    def check_writable(self) -> None:
        """Raise what a change meets."""
        self.check_readable()
        if self.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
