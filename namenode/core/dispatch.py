"""When something is decided about replicas, and what goes to whom because of it."""

import msgspec

from dolmen.protocol.datanode_messages import AnyCommand


class Moment(msgspec.Struct, frozen=True):
    """Now, on both clocks: the loop's, which never jumps, and the wall's, for tokens."""

    loop_ms: int
    wall_ms: int


class Dispatch(msgspec.Struct, frozen=True):
    """A command for a datanode."""

    datanode_id: str
    command: AnyCommand
