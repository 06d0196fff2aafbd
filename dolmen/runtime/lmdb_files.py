"""The file of an LMDB environment, and the digest beside it while nobody changes it."""

import os

import xxhash

from dolmen.protocol.errors import DataDamaged

DATA_NAME = "data.mdb"
DIGEST_NAME = "data.xxh128"
_PIECE_BYTES = 1 << 20


def taken_bytes(path: str) -> int:
    """Return the space that the file takes, without its holes; 0 if there is none."""
    try:
        return os.stat(os.path.join(path, DATA_NAME)).st_blocks * 512
    except FileNotFoundError:
        return 0


def seal(path: str) -> None:
    """Write down the digest of the file, and make both and their names last."""
    digest = _digest_of(os.path.join(path, DATA_NAME))
    with open(os.path.join(path, DIGEST_NAME), "wb") as file:
        file.write(digest)
    data_path, digest_path = os.path.join(path, DATA_NAME), os.path.join(path, DIGEST_NAME)
    sync_paths(data_path, digest_path, path, os.path.dirname(path))


def sync_paths(*paths: str) -> None:
    """Make files and directories last."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_digest(path: str, *, forget: bool) -> None:
    """Check a copy's bytes; `forget` its digest, because they are going to change."""
    digest_path = os.path.join(path, DIGEST_NAME)
    try:
        with open(digest_path, "rb") as file:
            digest = file.read()
    except FileNotFoundError:
        return
    if digest != _digest_of(os.path.join(path, DATA_NAME)):
        raise DataDamaged(f"{path} is a copy of the tables that does not have its digest any more")
    if forget:
        os.unlink(digest_path)


def _digest_of(path: str) -> bytes:
    taken = xxhash.xxh3_128()
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(_PIECE_BYTES):
                taken.update(piece)
    except FileNotFoundError:
        raise DataDamaged(f"{path} is missing") from None
    return taken.digest()
