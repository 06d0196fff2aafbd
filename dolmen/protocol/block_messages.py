"""The heads of bulk exchanges with a datanode: a small head and a streamed body each way.

A head is one struct; bytes of blocks only ever travel in bodies. A reply head is one of the replies
below or a `Refusal`. Writing the same segment twice changes nothing, and segments may arrive in any
order.
"""

import msgspec

from dolmen.protocol.errors import (
    MALFORMED,
    DolmenError,
    InvalidRequest,
    Refusal,
    to_error,
    to_refusal,
)

SEGMENT_LIMIT_BYTES = 16 * 1024 * 1024
"""A larger segment would need a head with more checksums than HEAD_LIMIT_BYTES."""

WHOLE_LIMIT_BYTES = 1024 * 1024
"""A block that is finalized as it arrives is in memory whole: as much as one stream may hold."""

RANGES_LIMIT = 256
"""Ranges in one read; a reader with more asks again."""

HEAD_LIMIT_BYTES = 32 * 1024


class Head(msgspec.Struct, frozen=True, array_like=True):
    """Base of all request heads: the token is checked before anything else is believed."""

    token: bytes
    block_id: int
    stamp: int


class WriteSegment(Head, frozen=True, tag=1):
    """→ SegmentStored. The body is `length_bytes` of the block from `offset_bytes`.

    The offset is a multiple of the chunk size, and so is the length unless it is the block's end.
    `checksums` are the packed chunk checksums; `position` is the receiver's place in the token's
    pipeline; the receiver passes the segment on to position + 1, if there is one,
    unless the writer sends to each by itself.

    With `digest`, the block's, the segment is the whole block, at most WHOLE_LIMIT_BYTES of it:
    everybody who stores it makes it FINALIZED, and durable, before he answers.
    """

    offset_bytes: int
    length_bytes: int
    checksums: bytes
    position: int
    digest: bytes = b""
    passed_on: bool = True


class FinalizeReplica(Head, frozen=True, tag=2):
    """→ ReplicaFinalized. Make the replica immutable and durable, if it has this length and
    digest."""

    length_bytes: int
    digest: bytes


class RestampReplica(Head, frozen=True, tag=3):
    """→ ReplicaRestamped. Close the gate of `old_stamp`, truncate to `length_bytes`, go on as
    `stamp`.

    `token` is a WRITE token for the new stamp. Also reopens a finalized replica of the old stamp.
    """

    old_stamp: int
    length_bytes: int


class CopyReplica(Head, frozen=True, tag=4):
    """→ ReplicaFinalized or ReplicaRestamped. Copy `length_bytes` from a source the token names.

    With `digest` the copy is finalized (a repair); without, it becomes a replica being written
    under `stamp` (a replacement in a rebuilt pipeline, copying from survivors already restamped).
    """

    length_bytes: int
    digest: bytes


class ReadRanges(Head, frozen=True, tag=5):
    """→ RangesFollow, body: the ranges' bytes one after the other, each within the replica."""

    ranges: tuple[tuple[int, int], ...]  # (offset_bytes, length_bytes)


class ReadChecksums(Head, frozen=True, tag=6):
    """→ ChecksumsFollow, body: the packed checksums of all chunks."""


BlockRequest = (
    WriteSegment | FinalizeReplica | RestampReplica | CopyReplica | ReadRanges | ReadChecksums
)


class HopTimes(msgspec.Struct, frozen=True, array_like=True):
    """What a segment cost at one datanode of a pipeline: how long it stored it, how long it had to
    wait for the one behind it."""

    stored_s: float
    waited_s: float


class SegmentStored(msgspec.Struct, frozen=True, array_like=True, tag=101):
    """Stored by all from the receiver on; or `failed_position` says who failed, `reason` how, and
    `kind` with which error (rule 9: it may be one that this software does not know). `hops` says
    what it cost from the receiver on, as far as it came."""

    failed_position: int = -1
    reason: str = ""
    kind: str = ""
    hops: tuple[HopTimes, ...] = ()


class ReplicaFinalized(msgspec.Struct, frozen=True, array_like=True, tag=102):
    """The replica is FINALIZED and durable."""


class ReplicaRestamped(msgspec.Struct, frozen=True, array_like=True, tag=103):
    """The replica is BEING_WRITTEN under the new stamp, exactly `length_bytes` long."""

    length_bytes: int


class RangesFollow(msgspec.Struct, frozen=True, array_like=True, tag=104):
    """The body has `length_bytes` bytes."""

    length_bytes: int


class ChecksumsFollow(msgspec.Struct, frozen=True, array_like=True, tag=105):
    """The body has the checksums of a replica of this length and digest."""

    length_bytes: int
    digest: bytes


BlockReply = (
    SegmentStored | ReplicaFinalized | ReplicaRestamped | RangesFollow | ChecksumsFollow | Refusal
)

_ENCODER = msgspec.msgpack.Encoder()
_REQUEST_DECODER: msgspec.msgpack.Decoder[BlockRequest] = msgspec.msgpack.Decoder(BlockRequest)
_REPLY_DECODER: msgspec.msgpack.Decoder[BlockReply] = msgspec.msgpack.Decoder(BlockReply)


def encode_head(head: BlockRequest | BlockReply) -> bytes:
    """Return a head as it goes over the wire."""
    return _ENCODER.encode(head)


def decode_request(head: bytes) -> BlockRequest:
    """Return the request in `head`; raise InvalidRequest if it is none."""
    try:
        return _REQUEST_DECODER.decode(head)
    except MALFORMED as error:
        raise InvalidRequest(f"malformed block request: {error}") from None


def decode_block_reply(head: bytes) -> BlockReply:
    """Return the reply in `head`, or raise the error that it carries."""
    try:
        reply = _REPLY_DECODER.decode(head)
    except MALFORMED as error:
        raise InvalidRequest(f"malformed block reply: {error}") from None
    if isinstance(reply, Refusal):
        raise to_error(reply)
    return reply


def refusal_of(error: DolmenError) -> bytes:
    """Return the reply head that carries `error`."""
    return _ENCODER.encode(to_refusal(error))
