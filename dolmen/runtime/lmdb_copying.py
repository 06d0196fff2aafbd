"""`python -m dolmen.runtime.lmdb_copying PATH COPY TABLE…`: copy an environment's records."""

import errno
import sys

from dolmen.protocol.errors import DataDamaged
from dolmen.runtime.lmdb_key_value import LmdbStore
from dolmen.runtime.lmdb_renewal import COPIED, DAMAGED, FAILED

FULL = (errno.ENOSPC, errno.EDQUOT)


def main(path: str, copied: str, *tables: str) -> int:
    """Return the status to end with."""
    try:
        environment = LmdbStore().open(path, tables, read_only=True)
        try:
            environment.copy(copied)
        finally:
            environment.close()
    except DataDamaged as error:
        sys.stderr.write(f"{error.message}\n")
        return DAMAGED
    except OSError as error:  # LMDB has more errors than those it names for damage
        sys.stderr.write(f"{error}\n")
        return FAILED if error.errno in FULL else DAMAGED
    return COPIED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
