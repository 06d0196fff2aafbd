"""What the bearer of a token may do here: the one place where tokens meet requests (rule 10)."""

from collections.abc import Callable

from dolmen.protocol.block_messages import BlockRequest, WriteSegment
from dolmen.protocol.errors import AccessDenied, InvalidRequest
from dolmen.protocol.identifiers import format_block_id
from dolmen.protocol.tokens import Access, BlockToken, ClusterKeys


class TokenCheck:
    """Opens tokens for one datanode."""

    def __init__(
        self, keys: ClusterKeys, datanode_id: str, wall_clock_ms: Callable[[], int]
    ) -> None:
        self._keys = keys
        self._datanode_id = datanode_id
        self._wall_clock_ms = wall_clock_ms

    def open(self, head: BlockRequest, *allowed: Access) -> BlockToken:
        """Return a request's token; AccessDenied unless it covers this block, stamp and use."""
        return self.open_signed(head.token, (head.block_id, head.stamp), *allowed)

    def open_proof(self, proof: bytes, block: tuple[int, int]) -> BlockToken:
        """Return the READ token that its bearer shows without giving it away; AccessDenied."""
        token = self._keys.open_proof(proof, self._wall_clock_ms())
        return _checked(token, block, Access.READ)

    def open_signed(self, signed: bytes, block: tuple[int, int], *allowed: Access) -> BlockToken:
        """Return a token for `block` (id, stamp); AccessDenied unless it is valid for that."""
        token = self._keys.open_token(signed, self._wall_clock_ms())
        return _checked(token, block, *allowed)

    def open_segment(self, head: WriteSegment) -> BlockToken:
        """Return the token of a segment that names this datanode at the segment's position."""
        token = self.open(head, Access.WRITE)
        if not 0 <= head.position < len(token.targets):
            raise InvalidRequest(f"the pipeline has no position {head.position}")
        if token.targets[head.position].datanode_id != self._datanode_id:
            raise AccessDenied(
                f"position {head.position} of the pipeline is datanode"
                f" {token.targets[head.position].datanode_id}, not {self._datanode_id}"
            )
        return token

    def open_for_member(self, head: BlockRequest) -> BlockToken:
        """Return a WRITE token whose pipeline this datanode is part of."""
        token = self.open(head, Access.WRITE)
        if all(target.datanode_id != self._datanode_id for target in token.targets):
            raise AccessDenied(f"datanode {self._datanode_id} is not in the token's pipeline")
        return token


def _checked(token: BlockToken, block: tuple[int, int], *allowed: Access) -> BlockToken:
    if (token.block_id, token.stamp) != block:
        raise AccessDenied(
            f"the token is for block {format_block_id(token.block_id)}, stamp {token.stamp}"
        )
    if token.access not in allowed:
        raise AccessDenied(f"a {token.access.name} token does not allow this")
    return token
