"""RFC 9162, section 2.1: its examples, and Hypothesis against its definition taken literally."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_app.proof.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    reader_of,
    root_from_inclusion,
    root_of,
    root_of_complete,
    root_of_leaves,
    verify_consistency,
    verify_inclusion,
)

# The reference inputs and roots of certificate-transparency's and the Go sumdb's tests.
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(data) for data in INPUTS]


def mth(leaves):
    """The Merkle Tree Hash of section 2.1.1, word for word."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def path(m, leaves):
    """Section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m, leaves, b):
    """Section 2.1.4.1."""
    if m == len(leaves):
        return [] if b else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], b), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def split(n):
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def tree(size):
    return [leaf_hash(str(number).encode()) for number in range(size)]


@pytest.mark.parametrize("size", range(1, 9))
def test_the_known_roots(size):
    assert root_of(size, reader_of(LEAVES)).hex() == ROOTS[size - 1]
    assert root_of_leaves(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_rfcs_examples():
    """Section 2.1.5, the tree of seven leaves: its letters are the nodes of its picture."""
    d = LEAVES[:7]
    read = reader_of(d)
    a, b, c, e, f = d[0], d[1], d[2], d[4], d[5]
    g, h, i, j = node_hash(a, b), node_hash(c, d[3]), node_hash(e, f), d[6]
    k, low = node_hash(g, h), node_hash(i, j)
    assert inclusion_proof(0, 7, read) == [b, h, low]
    assert inclusion_proof(3, 7, read) == [c, g, low]
    assert inclusion_proof(4, 7, read) == [f, j, k]
    assert inclusion_proof(6, 7, read) == [i, k]
    assert consistency_proof(3, 7, read) == [c, d[3], g, low]
    assert consistency_proof(4, 7, read) == [low]
    assert consistency_proof(6, 7, read) == [i, j, k]
    assert root_of(7, read) == node_hash(k, low)


def test_an_empty_tree():
    assert root_of(0, reader_of([])) == EMPTY_ROOT == Frontier().root
    assert root_of_leaves([]) == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


SIZES = st.integers(1, 140)


@given(SIZES, st.data())
def test_inclusion(size, data):
    leaves = tree(size)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, reader_of(leaves))
    assert proof == path(index, leaves)
    assert verify_inclusion(leaves[index], index, size, proof, mth(leaves))
    assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, mth(leaves))
    assert not verify_inclusion(leaves[index], index, size, [*proof, mth(leaves)], mth(leaves))
    if proof:
        assert not verify_inclusion(leaves[index], index, size, proof[:-1], mth(leaves))
        place = data.draw(st.integers(0, len(proof) - 1))
        forged = [*proof[:place], leaf_hash(b"forged"), *proof[place + 1 :]]
        assert not verify_inclusion(leaves[index], index, size, forged, mth(leaves))


@given(SIZES, st.data())
def test_consistency(new, data):
    leaves = tree(new)
    old = data.draw(st.integers(0, new))
    proof = consistency_proof(old, new, reader_of(leaves))
    assert proof == (subproof(old, leaves[:new], True) if old else [])
    roots = mth(leaves[:old]), mth(leaves)
    assert verify_consistency(old, new, *roots, proof)
    assert not verify_consistency(old, new, leaf_hash(b"old"), roots[1], proof)
    assert not verify_consistency(old, new, *roots, [*proof, roots[1]])
    if 0 < old < new:
        assert not verify_consistency(old, new, roots[0], leaf_hash(b"new"), proof)
        assert not verify_consistency(old, new, *roots, proof[:-1])


@given(SIZES, st.data())
def test_a_frontier_grows_from_anywhere(size, data):
    leaves = tree(size)
    frontier = Frontier(data.draw(st.integers(0, size)), reader_of(leaves))
    while frontier.size < size:
        frontier.append(leaves[frontier.size])
        assert frontier.root == mth(leaves[: frontier.size])


@pytest.mark.parametrize("size", [1, 2, 8, 256])
def test_a_complete_tree(size):
    assert root_of_complete(b"".join(tree(size))) == mth(tree(size))


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_no_such_leaf(index, size):
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(index, size, reader_of(tree(3)))
    with pytest.raises(ValueError, match="no leaf"):
        root_from_inclusion(LEAVES[0], index, size, [])
    assert not verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])


def test_trees_do_not_shrink():
    with pytest.raises(ValueError, match="does not contain"):
        consistency_proof(3, 2, reader_of(tree(3)))
    assert not verify_consistency(3, 2, LEAVES[0], LEAVES[0], [])
    with pytest.raises(ValueError, match="read from it"):
        Frontier(3)


def test_a_proof_reads_few_hashes():
    calls = []

    def read(height, number):
        calls.append((height, number))
        return bytes(32)

    proof = inclusion_proof(123_456, 1_000_000, read)
    assert len(proof) == 20
    assert len(calls) <= 30
