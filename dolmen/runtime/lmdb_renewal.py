"""Going on with what a killed process left of an LMDB environment.

Damage can end the process that meets it: as it reads, or much later, as it uses a page that a
damaged list calls free. So a process of its own (`lmdb_copying`) reads the environment, and its
copy, which is sound as far as LMDB goes, takes the place of the old file.
"""

import logging
import os
import shutil
import subprocess
import sys

from dolmen.protocol.errors import DataDamaged
from dolmen.runtime.lmdb_files import DATA_NAME, sync_paths, taken_bytes

log = logging.getLogger(__name__)

SUFFIX = ".renewed"
"""Of the copy's directory, until its file is moved."""

COPIED, DAMAGED, FAILED = 0, 3, 5
"""How the other process ends: 3 if the environment is damaged, 5 if it could not tell."""

DID_NOT_RUN = (1, 2, FAILED)
"""Python itself uses 1 and 2."""


def renew(path: str, tables: tuple[str, ...], limit_bytes: int) -> bool:
    """Replace the environment in `path` by a copy of its records, as `KeyValueStore.renew`."""
    copied = path + SUFFIX
    shutil.rmtree(copied, ignore_errors=True)
    if not 0 < taken_bytes(path) <= limit_bytes:
        return False
    words = (sys.executable, "-P", "-m", "dolmen.runtime.lmdb_copying", path, copied, *tables)
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == COPIED:
        os.replace(os.path.join(copied, DATA_NAME), os.path.join(path, DATA_NAME))
        sync_paths(path)
    shutil.rmtree(copied, ignore_errors=True)
    return _was_copied(path, done)


def _was_copied(path: str, done: "subprocess.CompletedProcess[str]") -> bool:
    said = done.stderr.strip()[-1000:]
    if done.returncode in DID_NOT_RUN:
        log.warning("the tables in %s are used as they are: %s", path, said)
    elif done.returncode != COPIED:
        how = said if done.returncode == DAMAGED else f"a process that read them crashed: {said}"
        raise DataDamaged(f"the tables in {path} are damaged: {how}")
    return done.returncode == COPIED
