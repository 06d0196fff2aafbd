"""Keys, proofs and block tokens: who may come in, checked without asking anybody.

One cluster secret keys everything, through one derived key per purpose (rule 31), so that a proof
made for one purpose can never serve another. A block token says what its bearer may do with one
block; it is signed by the namenode (keyed BLAKE2b) and checked by the datanode alone. Without TLS a
token is a bearer secret in the clear, as everything else on the wire is.
"""

import enum
import hmac
from collections.abc import Callable
from hashlib import blake2b

import msgspec

from dolmen.protocol.errors import MALFORMED, AccessDenied

MAC_BYTES = 32
NONCE_BYTES = 16
_PURPOSE_MEMBER = b"dolmen member"
_PURPOSE_BLOCK = b"dolmen block"
_KEY_ID_LIMIT = 1 << 64
SECRET_BYTES = 32
SECRET_LIMIT_BYTES = 4096


class Access(enum.IntEnum):
    """What the bearer of a block token may do."""

    READ = 1
    """Read the finalized replica, and its checksums."""
    WRITE = 2
    """Write segments under the token's stamp, restamp to it, finalize."""
    COPY = 3
    """Have the datanode copy the replica from a source named in the token."""


class Target(msgspec.Struct, frozen=True, array_like=True):
    """One datanode of a pipeline: its identity and where it listens."""

    datanode_id: str
    address: str


class BlockToken(msgspec.Struct, frozen=True, array_like=True):
    """What is signed. For WRITE `targets` is the pipeline in order; for COPY the allowed
    sources."""

    block_id: int
    stamp: int
    access: Access
    user: str
    expires_ms: int
    length_limit_bytes: int
    targets: tuple[Target, ...] = ()
    key_id: int = 0


class ClusterKeys:
    """The keys derived from one cluster secret."""

    def __init__(self, secret: bytes) -> None:
        self._member = _derive(secret, _PURPOSE_MEMBER)
        self._secret = secret

    def prove_membership(self, role: str, own_nonce: bytes, peer_nonce: bytes) -> bytes:
        """Return the proof that the holder of `role` knows the secret, for these two nonces."""
        text = b"\0".join((role.encode(), own_nonce.hex().encode(), peer_nonce.hex().encode()))
        return blake2b(text, key=self._member, digest_size=MAC_BYTES).digest()

    def check_membership(
        self, role: str, peer_nonce: bytes, own_nonce: bytes, proof: bytes
    ) -> None:
        """Raise AccessDenied unless `proof` is the peer's for `role` and these two nonces."""
        expected = self.prove_membership(role, peer_nonce, own_nonce)
        if not hmac.compare_digest(expected, proof):
            raise AccessDenied(f"the {role} does not know this cluster's secret")

    def sign(self, token: BlockToken) -> bytes:
        """Return `token` as it is handed out: its MAC, then its encoding."""
        payload = _ENCODER.encode(token)
        return self._mac(token.key_id, payload) + payload

    def open_token(self, signed: bytes, now_ms: int) -> BlockToken:
        """Return the token in `signed`, or raise AccessDenied: forged, damaged or expired."""
        return self._open(signed, lambda mac, payload: mac, now_ms)

    def open_proof(self, proof: bytes, now_ms: int) -> BlockToken:
        """Return the token that `proof` (see `prove_token`) says its sender has; AccessDenied."""
        return self._open(proof, _proof_by, now_ms)

    def _open(
        self, signed: bytes, made: Callable[[bytes, bytes], bytes], now_ms: int
    ) -> BlockToken:
        """Return a token before which stands what is `made` of its MAC and its encoding."""
        mac, payload = signed[:MAC_BYTES], signed[MAC_BYTES:]
        try:
            token = _DECODER.decode(payload)
        except MALFORMED:
            raise AccessDenied("this is not a block token") from None
        if not 0 <= token.key_id < _KEY_ID_LIMIT:
            raise AccessDenied("this is not a block token")
        if not hmac.compare_digest(made(self._mac(token.key_id, payload), payload), mac):
            raise AccessDenied("the block token was not signed with this cluster's secret")
        if now_ms > token.expires_ms:
            raise AccessDenied(
                f"the block token expired {now_ms - token.expires_ms} ms ago; ask for a new one"
            )
        return token

    def _mac(self, key_id: int, payload: bytes) -> bytes:
        key = _derive(self._secret, _PURPOSE_BLOCK + key_id.to_bytes(8, "big"))
        return blake2b(payload, key=key, digest_size=MAC_BYTES).digest()


def prove_token(signed: bytes) -> bytes:
    """Return what shows a datanode that we have this token, and is of no use to anybody else: not
    even to who pretends to be that datanode."""
    mac, payload = signed[:MAC_BYTES], signed[MAC_BYTES:]
    return _proof_by(mac, payload) + payload


def _proof_by(mac: bytes, payload: bytes) -> bytes:
    return blake2b(payload, key=mac, digest_size=MAC_BYTES, person=b"proof").digest()


def _derive(secret: bytes, purpose: bytes) -> bytes:
    master = blake2b(secret, digest_size=64).digest()  # any length in, one length out
    return blake2b(purpose, key=master, digest_size=32).digest()


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(BlockToken)
