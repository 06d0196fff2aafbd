"""One simulated file system: its space, and what is wrong with it."""

import errno
import os
from dataclasses import dataclass

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

    def check_readable(self) -> None:
        """Raise what a read meets."""
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def check_writable(self) -> None:
        """Raise what a change meets."""
        self.check_readable()
        if self.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
