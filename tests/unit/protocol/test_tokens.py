"""Proofs and block tokens: what was not signed by this cluster, for this, and now, is refused."""

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from dolmen.protocol.errors import AccessDenied
from dolmen.protocol.tokens import Access, BlockToken, ClusterKeys, Target, prove_token

KEYS = ClusterKeys(b"a secret")
TOKEN = BlockToken(1 << 63, 7, Access.WRITE, "ä", 1000, 65536, (Target("d", "h:1"),))


def test_a_signed_token_opens_until_it_expires() -> None:
    signed = KEYS.sign(TOKEN)
    assert KEYS.open_token(signed, now_ms=1000) == TOKEN
    with pytest.raises(AccessDenied, match="expired 1 ms ago"):
        KEYS.open_token(signed, now_ms=1001)


def test_a_token_of_another_cluster_is_refused() -> None:
    with pytest.raises(AccessDenied, match="not signed"):
        KEYS.open_token(ClusterKeys(b"another").sign(TOKEN), now_ms=0)


def test_a_token_with_any_byte_changed_is_refused() -> None:
    signed = KEYS.sign(TOKEN)
    for place in range(len(signed)):
        forged = signed[:place] + bytes((signed[place] ^ 1,)) + signed[place + 1 :]
        with pytest.raises(AccessDenied):
            KEYS.open_token(forged, now_ms=0)


@given(st.binary(max_size=200))
def test_bytes_of_a_stranger_are_no_token(signed: bytes) -> None:
    with pytest.raises(AccessDenied):
        KEYS.open_token(signed, now_ms=0)


@pytest.mark.parametrize("key_id", [-1, -(1 << 63), (1 << 64) - 1])
def test_a_forged_key_id_is_refused_like_any_forgery(key_id: int) -> None:
    fields = [1, 1, 1, "u", 1000, 1, [], key_id]
    with pytest.raises(AccessDenied):
        KEYS.open_token(bytes(32) + msgspec.msgpack.encode(fields), now_ms=0)


def test_a_member_proves_itself_for_one_role_and_two_nonces() -> None:
    proof = KEYS.prove_membership("datanode", own_nonce=b"a", peer_nonce=b"b")
    KEYS.check_membership("datanode", peer_nonce=b"a", own_nonce=b"b", proof=proof)
    for role, peer, own in (("namenode", b"a", b"b"), ("datanode", b"b", b"a")):
        with pytest.raises(AccessDenied, match=role):
            KEYS.check_membership(role, peer_nonce=peer, own_nonce=own, proof=proof)
    for foreign in (b"", proof[:-1], ClusterKeys(b"x").prove_membership("datanode", b"a", b"b")):
        with pytest.raises(AccessDenied):
            KEYS.check_membership("datanode", peer_nonce=b"a", own_nonce=b"b", proof=foreign)


def test_a_block_token_is_no_proof_of_membership() -> None:
    signed = KEYS.sign(TOKEN)
    with pytest.raises(AccessDenied):
        KEYS.check_membership("datanode", b"a", b"b", signed[:32])


@pytest.mark.parametrize("secret", [b"", b"s", b"s" * 4096])
def test_a_secret_of_any_length_makes_keys(secret: bytes) -> None:
    keys = ClusterKeys(secret)
    assert keys.open_token(keys.sign(TOKEN), 0) == TOKEN


def test_a_token_is_proved_without_being_given_away() -> None:
    keys = ClusterKeys(b"secret")
    signed = keys.sign(BlockToken(1, 2, Access.READ, "ann", 1000, 0))
    proof = prove_token(signed)
    assert keys.open_proof(proof, 999) == keys.open_token(signed, 999)
    with pytest.raises(AccessDenied, match="expired"):
        keys.open_proof(proof, 1001)
    for misused in (lambda: keys.open_token(proof, 999), lambda: keys.open_proof(signed, 999)):
        with pytest.raises(AccessDenied):
            misused()
    with pytest.raises(AccessDenied):
        ClusterKeys(b"another").open_proof(proof, 999)
