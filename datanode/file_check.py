"""Whether a whole file is what its checksums say."""

from datanode.volume import Volume
from dolmen.protocol.checksums import CHECKSUM_BYTES, CHUNK_BYTES, chunk_count, first_bad_chunk
from dolmen.protocol.errors import ChecksumMismatch
from dolmen.runtime.transport import PIECE_BYTES


async def verify_file(volume: Volume, path: str, length_bytes: int, checksums: bytes) -> None:
    """Compare a whole file with its checksums; ChecksumMismatch names the first bad chunk."""
    file = await volume.disk.open(path, writable=False)
    try:
        buffer = memoryview(bytearray(min(PIECE_BYTES, length_bytes)))
        for start in range(0, length_bytes, PIECE_BYTES):
            piece = buffer[: min(PIECE_BYTES, length_bytes - start)]
            if await file.read_into(start, piece) < len(piece):
                raise ChecksumMismatch(f"{path} is shorter than its {length_bytes} bytes")
            first, last = start // CHUNK_BYTES, chunk_count(start + len(piece))
            bad = first_bad_chunk(piece, checksums[first * CHECKSUM_BYTES : last * CHECKSUM_BYTES])
            if bad is not None:
                raise ChecksumMismatch(f"{path}: chunk {first + bad} fails its checksum")
    finally:
        await file.close()
