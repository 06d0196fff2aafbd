"""What a datanode is started with."""

from dataclasses import dataclass, field

from dolmen.runtime.settings import Settings


@dataclass(frozen=True)
class DatanodeOptions:
    """Directories, addresses, labels and settings of one datanode."""

    directories: tuple[str, ...]
    """Each holds one volume, at `<directory>/volumes/0`."""
    namenode: str  # host:port
    host: str = "127.0.0.1"
    port: int = 0
    advertise: str | None = None  # host:port under which others reach it
    host_label: str | None = None  # which machine it is on; default the machine's host name
    rack: str = "/default"
    secret_file: str | None = None
    settings: Settings = field(default_factory=Settings)
