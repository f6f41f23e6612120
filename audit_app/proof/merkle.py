"""Merkle trees as RFC 9162, section 2.1, defines them. Pure: hashes in, hashes out.

A tree is never held as a whole. ``Read`` returns the hash of a complete subtree, ``read(height,
number)``: the one over the leaves from ``number << height`` to ``(number + 1) << height``, so that
``read(0, 7)`` is the hash of leaf 7. Proofs ask for O(log n) of them. Positions of leaves count
from 0; proofs are in the RFC's order, from the leaf upwards.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

Read = Callable[[int, int], bytes]

HASH_SIZE = 32
EMPTY_ROOT = sha256().digest()


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def root_of(size: int, read: Read) -> bytes:
    """The root of the tree of the first ``size`` leaves."""
    return _range_hash(0, size, read)


def inclusion_proof(index: int, size: int, read: Read) -> list[bytes]:
    """The RFC's PATH from leaf ``index`` to the root of the first ``size`` leaves.

    Raises ValueError if the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"A tree of {size} leaves has no leaf {index}.")
    proof, begin, end = [], 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            proof.append(_range_hash(middle, end, read))
            end = middle
        else:
            proof.append(_range_hash(begin, middle, read))
            begin = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, read: Read) -> list[bytes]:
    """The RFC's PROOF that the tree of ``new`` leaves begins with that of ``old`` ones.

    It is empty if both sizes are equal, or if ``old`` is 0: every tree begins with the empty one.
    Raises ValueError if ``new`` is less than ``old``.
    """
    if not 0 <= old <= new:
        raise ValueError(f"A tree of {new} leaves does not contain one of {old}.")
    if old in {0, new}:
        return []
    proof, begin, end, whole = [], 0, new, True
    while old != end:
        middle = begin + _split(end - begin)
        if old <= middle:
            proof.append(_range_hash(middle, end, read))
            end = middle
        else:
            proof.append(_range_hash(begin, middle, read))
            begin, whole = middle, False
    if not whole:  # otherwise the verifier has this hash: it is the old root
        proof.append(_range_hash(begin, end, read))
    return proof[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root to which ``proof`` leads from the leaf's hash (section 2.1.3.2).

    Raises ValueError if the proof is too short or too long for the tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"A tree of {size} leaves has no leaf {index}.")
    number, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ValueError("The proof is too long.")
        if number & 1 or number == last:
            root = node_hash(sibling, root)
            while not number & 1 and number:  # levels at which the node has no sibling
                number, last = number >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        number, last = number >> 1, last >> 1
    if last:
        raise ValueError("The proof is too short.")
    return root


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Whether ``proof`` shows that the tree with this root has ``leaf`` (a hash) at ``index``."""
    try:
        return root_from_inclusion(leaf, index, size, proof) == root
    except ValueError:
        return False


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether ``proof`` shows that the new tree begins with the old one (section 2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old in {0, new}:
        return not proof and old_root == (new_root if old else EMPTY_ROOT)
    path = list(proof)
    if old & (old - 1) == 0:  # a complete tree is its own first hash
        path.insert(0, old_root)
    if not path:
        return False
    number, last = old - 1, new - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def root_of_leaves(leaves: Iterable[bytes]) -> bytes:
    """The root over hashes of leaves, read once and in order."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root


def root_of_complete(hashes: bytes) -> bytes:
    """The root over a power of two of hashes that follow each other in ``hashes``."""
    while len(hashes) > HASH_SIZE:
        pairs = range(0, len(hashes), 2 * HASH_SIZE)
        hashes = b"".join(
            [sha256(b"\x01" + hashes[begin : begin + 2 * HASH_SIZE]).digest() for begin in pairs]
        )
    return hashes


class Frontier:
    """The right edge of a tree that grows: O(log n) memory, however many leaves there were."""

    def __init__(self, size: int = 0, read: Read | None = None) -> None:
        """Start at an empty tree, or at the first ``size`` leaves of the one that ``read`` knows.

        Raises ValueError if there is a size and nothing to read from.
        """
        if size and read is None:
            raise ValueError("The frontier of a tree is read from it.")
        self.size = size
        self.peaks = [read(*place) for place in _peaks(0, size)] if read else []

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        self.size += 1
        complete = self.size
        while not complete & 1:
            leaf = node_hash(self.peaks.pop(), leaf)
            complete >>= 1
        self.peaks.append(leaf)

    @property
    def root(self) -> bytes:
        return root_of_peaks(self.peaks)


def reader_of(leaves: Sequence[bytes]) -> Read:
    """A ``Read`` over hashes of leaves in memory, for small trees."""

    def read(height: int, number: int) -> bytes:
        if height == 0:
            return leaves[number]
        return node_hash(read(height - 1, 2 * number), read(height - 1, 2 * number + 1))

    return read


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1


def _range_hash(begin: int, end: int, read: Read) -> bytes:
    return root_of_peaks([read(*place) for place in _peaks(begin, end)])


def root_of_peaks(peaks: Sequence[bytes]) -> bytes:
    """The root over complete subtrees that follow each other, the largest first."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def _peaks(begin: int, end: int) -> list[tuple[int, int]]:
    """The complete subtrees, largest first, that the leaves from ``begin`` to ``end`` consist of.

    ``begin`` is a multiple of the largest one, as it is wherever the RFC splits a tree.
    """
    peaks = []
    while begin < end:
        height = (end - begin).bit_length() - 1
        peaks.append((height, begin >> height))
        begin += 1 << height
    return peaks
