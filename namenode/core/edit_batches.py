"""How edits stand in the log: groups in batches, batches in segments.

A group is the edits of one outcome; it has one transaction id. A batch is what one append makes
durable: a header of 64 bytes, then the groups, each behind its length. Its digest covers header and
groups, and the header holds the digest of the batch before, so that a log is one chain: nothing can
be changed, left out or put in between without a trace.

At most one batch is ever in flight, so a crash may leave at most one torn batch, at the very end.
Anything else that is not intact is damage.
"""

import struct
from collections.abc import Iterable, Iterator

import msgspec
import xxhash

from dolmen.protocol.errors import DataDamaged, StandbyNamenode, UnsupportedVersion

FORMAT = 1

GROUP_LIMIT_BYTES = 128 * 1024
"""Two edits of the greatest size: one with its reply."""

PAYLOAD_LIMIT_BYTES = 512 * 1024
"""A batch must fit into one znode, half of what ZooKeeper takes."""

_SEGMENT_MAGIC = b"DOLMEDIT"
_SEGMENT_START = struct.Struct(">8sI")
_SEGMENT = struct.Struct(">8sI32sQQ16s")
_BATCH_MAGIC = 0xD01E0EB1
_BATCH = struct.Struct(">IIQQII16s")
_LENGTH = struct.Struct(">I")
_DIGEST_BYTES = 16

SEGMENT_HEADER_BYTES = _SEGMENT.size + _DIGEST_BYTES
BATCH_HEADER_BYTES = _BATCH.size + _DIGEST_BYTES
BATCH_LIMIT_BYTES = BATCH_HEADER_BYTES + PAYLOAD_LIMIT_BYTES


class Batch(msgspec.Struct, frozen=True):
    """Some groups with consecutive transaction ids, as they are appended."""

    epoch: int
    first_txid: int
    count: int
    previous_digest: bytes
    digest: bytes
    payload: bytes

    @property
    def last_txid(self) -> int:
        return self.first_txid + self.count - 1

    def groups(self) -> Iterator[tuple[int, bytes]]:
        """Yield (transaction id, encoded group)."""
        offset = 0
        for txid in range(self.first_txid, self.first_txid + self.count):
            (length_bytes,) = _LENGTH.unpack_from(self.payload, offset)
            offset += _LENGTH.size + length_bytes
            yield txid, self.payload[offset - length_bytes : offset]


class Position(msgspec.Struct, frozen=True):
    """Where a log stands: its last transaction, the digest of its last batch, its epoch."""

    txid: int
    digest: bytes
    epoch: int

    def follow(self, batch: Batch) -> "Position":
        """Return the position after `batch`. DataDamaged if it is not the next one."""
        if batch.first_txid != self.txid + 1:
            raise DataDamaged(
                f"the edit log goes from transaction {self.txid} to {batch.first_txid}"
            )
        if batch.previous_digest != self.digest:
            raise DataDamaged(
                f"the batch of edits at transaction {batch.first_txid} belongs to another history"
            )
        if batch.epoch < self.epoch:
            raise StandbyNamenode(
                f"epoch {batch.epoch} is over: another namenode appends in epoch {self.epoch}"
            )
        return Position(batch.last_txid, batch.digest, batch.epoch)


START = Position(txid=0, digest=bytes(_DIGEST_BYTES), epoch=0)


def group_bytes(group: bytes) -> int:
    """Return what a group takes of a batch's payload."""
    return _LENGTH.size + len(group)


def make_batch(position: Position, epoch: int, groups: Iterable[bytes]) -> Batch:
    """Return the batch of `groups` that follows `position`."""
    listed = list(groups)
    payload = b"".join(part for group in listed for part in (_LENGTH.pack(len(group)), group))
    if len(payload) > PAYLOAD_LIMIT_BYTES:
        raise ValueError(f"a batch of {len(payload)} bytes is above {PAYLOAD_LIMIT_BYTES}")
    batch = Batch(epoch, position.txid + 1, len(listed), position.digest, b"", payload)
    digest = xxhash.xxh3_128_digest(_batch_header(batch) + payload)
    return msgspec.structs.replace(batch, digest=digest)


def encode_batch(batch: Batch) -> bytes:
    """Return `batch` as it stands in the log."""
    return _batch_header(batch) + batch.digest + batch.payload


def _batch_header(batch: Batch) -> bytes:
    return _BATCH.pack(
        _BATCH_MAGIC,
        FORMAT,
        batch.epoch,
        batch.first_txid,
        batch.count,
        len(batch.payload),
        batch.previous_digest,
    )


def decode_batch(data: bytes, offset: int = 0) -> Batch | None:
    """Return the batch at `offset`, or None if there is no intact one. UnsupportedVersion."""
    payload_start = offset + BATCH_HEADER_BYTES
    if len(data) < payload_start:
        return None
    header = data[offset : offset + _BATCH.size]
    magic, version, epoch, first_txid, count, length_bytes, previous = _BATCH.unpack(header)
    if magic != _BATCH_MAGIC or length_bytes > PAYLOAD_LIMIT_BYTES:
        return None
    payload = data[payload_start : payload_start + length_bytes]
    digest = data[offset + _BATCH.size : payload_start]
    if digest != xxhash.xxh3_128_digest(header + payload):
        return None
    if version > FORMAT:
        raise UnsupportedVersion(_newer("batch of edits", version))
    return Batch(epoch, first_txid, count, previous, digest, payload)


def encode_segment_header(cluster_id: str, position: Position, epoch: int) -> bytes:
    """Return the head of a segment that begins after `position`."""
    header = _SEGMENT.pack(
        _SEGMENT_MAGIC, FORMAT, cluster_id.encode(), position.txid + 1, epoch, position.digest
    )
    return header + xxhash.xxh3_128_digest(header)


def decode_segment_header(data: bytes) -> tuple[str, Position]:
    """Return (cluster id, position before the segment). DataDamaged, UnsupportedVersion."""
    _refuse_newer_segment(data)
    header = data[: _SEGMENT.size]
    if data[_SEGMENT.size : SEGMENT_HEADER_BYTES] != xxhash.xxh3_128_digest(header):
        raise DataDamaged("the head of this segment of the edit log is damaged")
    magic, _, cluster_id, first_txid, epoch, digest = _SEGMENT.unpack(header)
    if magic != _SEGMENT_MAGIC:
        raise DataDamaged("this is no segment of an edit log")
    return cluster_id.decode(), Position(first_txid - 1, digest, epoch)


def _refuse_newer_segment(data: bytes) -> None:
    """Before its digest is asked for: a newer head may be longer and carry another one."""
    if len(data) < _SEGMENT_START.size:
        return
    magic, version = _SEGMENT_START.unpack_from(data)
    if magic == _SEGMENT_MAGIC and version > FORMAT:
        raise UnsupportedVersion(_newer("segment of the edit log", version))


def walk_segment(data: bytes, position: Position) -> Iterator[tuple[int, Batch]]:
    """Yield (end offset, batch) of the intact batches from the head on that follow `position`."""
    offset = SEGMENT_HEADER_BYTES
    while batch := decode_batch(data, offset):
        position = position.follow(batch)
        offset += BATCH_HEADER_BYTES + len(batch.payload)
        yield offset, batch


def is_torn_tail(data: bytes, offset: int) -> bool:
    """Return whether what stands from `offset` can be one batch whose append was cut short."""
    if len(data) - offset > BATCH_LIMIT_BYTES:
        return False
    magic = _BATCH_MAGIC.to_bytes(4, "big")
    found = data.find(magic, offset + 1)
    while found >= 0:
        if decode_batch(data, found):
            return False
        found = data.find(magic, found + 1)
    return True


def _newer(what: str, version: int) -> str:
    return f"this {what} has format {version}; this software knows {FORMAT}: start a newer one"
