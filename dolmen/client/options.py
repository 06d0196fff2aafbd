"""What a client is told when it is made, and the limits it keeps by itself."""

from dataclasses import dataclass

from dolmen.protocol.block_messages import SEGMENT_LIMIT_BYTES
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.errors import InvalidRequest
from dolmen.runtime.settings import Settings

_DEFAULTS = Settings()


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """The options of one client. `ClientOptions.of(settings, ...)` takes the values of a table."""

    namenode: str = "127.0.0.1:9870"
    user: str | None = None
    """Who the namenode believes us to be; None: the login name."""
    host: str | None = None
    """The label of our host, to find replicas on it; None: the machine's host name."""
    retry_for_ms: int = _DEFAULTS.retry_for_ms
    connect_timeout_ms: int = _DEFAULTS.connect_timeout_ms
    segment_bytes: int = _DEFAULTS.segment_size_bytes
    segments_in_flight: int = _DEFAULTS.segments_in_flight
    hedged_share: float = _DEFAULTS.hedged_share
    read_memory_bytes: int = _DEFAULTS.read_memory_bytes
    write_memory_bytes: int = _DEFAULTS.write_memory_bytes
    short_circuit: bool = _DEFAULTS.short_circuit
    streams: int = 16
    """Bulk reads at once over all readers of the client: enough for a few blocks from a few
    datanodes, few enough that each moves on well within its progress deadline."""
    read_piece_bytes: int = 4 * 1024 * 1024
    """What one bulk read brings: large enough that the request costs little, small enough that a
    block is read by several streams."""

    def __post_init__(self) -> None:
        for name in ("segment_bytes", "read_piece_bytes"):
            value = getattr(self, name)
            if value < CHUNK_BYTES or value % CHUNK_BYTES:
                raise InvalidRequest(f"{name} is {value}, not a multiple of {CHUNK_BYTES}")
        if self.segment_bytes > SEGMENT_LIMIT_BYTES:
            raise InvalidRequest(f"segment_bytes is over {SEGMENT_LIMIT_BYTES}")
        for name in ("segments_in_flight", "streams", "retry_for_ms", "connect_timeout_ms"):
            if getattr(self, name) < 1:
                raise InvalidRequest(f"{name} must be at least 1")

    @classmethod
    def of(
        cls,
        settings: Settings,
        namenode: str,
        *,
        user: str | None = None,
        host: str | None = None,
    ) -> "ClientOptions":
        """Return options with the values of `settings`."""
        return cls(
            namenode=namenode,
            user=user,
            host=host,
            retry_for_ms=settings.retry_for_ms,
            connect_timeout_ms=settings.connect_timeout_ms,
            segment_bytes=settings.segment_size_bytes,
            segments_in_flight=settings.segments_in_flight,
            hedged_share=settings.hedged_share,
            read_memory_bytes=settings.read_memory_bytes,
            write_memory_bytes=settings.write_memory_bytes,
            short_circuit=settings.short_circuit,
        )
