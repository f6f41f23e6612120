"""The Merkle tree as it is kept: C2SP's tiles of 256 hashes (c2sp.org/tlog-tiles), a row each.

The rightmost tile of each level is partial and grows. Only the sealer appends (sealing.py), one at
a time.
"""

from collections.abc import Iterator, Sequence

from audit_app.models import LogTile
from audit_app.proof.merkle import HASH_SIZE, Read, reader_of, root_of, root_of_complete

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_SIZE


def read_tile(level: int, number: int) -> bytes:
    """The hashes that the tile has so far; empty if there is no such tile."""
    tiles = LogTile.objects.filter(level=level, number=number)
    return bytes(tiles.values_list("hashes", flat=True).first() or b"")


def split_hashes(tile: bytes) -> list[bytes]:
    return [tile[begin : begin + HASH_SIZE] for begin in range(0, len(tile), HASH_SIZE)]


def tile_width(level: int, number: int, size: int) -> int:
    """How many hashes the tile has in a tree of ``size`` leaves; 0 or less if it is not there."""
    return min((size >> level * TILE_HEIGHT) - number * TILE_WIDTH, TILE_WIDTH)


def tile_reader() -> Read:
    """A ``merkle.Read`` from the kept tiles, each of which is read once."""
    tiles: dict[tuple[int, int], list[bytes]] = {}

    def read(height: int, number: int) -> bytes:
        level, rest = divmod(height, TILE_HEIGHT)
        place, offset = divmod(number << rest, TILE_WIDTH)
        if (level, place) not in tiles:
            tiles[level, place] = split_hashes(read_tile(level, place))
        hashes = tiles[level, place][offset : offset + (1 << rest)]
        return root_of(1 << rest, reader_of(hashes))

    return read


def append_hashes(size: int, leaves: Sequence[bytes]) -> None:
    """Append hashes of leaves to a tree of ``size`` leaves, within the caller's transaction."""
    level, hashes = 0, list(leaves)
    while hashes:
        hashes = list(_extend_level(level, size >> level * TILE_HEIGHT, hashes))
        level += 1


def _extend_level(level: int, start: int, hashes: Sequence[bytes]) -> Iterator[bytes]:
    """Append ``hashes`` to a level that has ``start``; yield the root of each tile that is full."""
    number, offset = divmod(start, TILE_WIDTH)
    kept = read_tile(level, number)[: offset * HASH_SIZE] if offset else b""
    data = kept + b"".join(hashes)
    tiles = [data[begin : begin + TILE_BYTES] for begin in range(0, len(data), TILE_BYTES)]
    LogTile.objects.bulk_create(
        [
            LogTile(level=level, number=place, hashes=tile)
            for place, tile in enumerate(tiles, number)
        ],
        update_conflicts=True,
        unique_fields=["level", "number"],
        update_fields=["hashes"],
    )
    for tile in tiles:
        if len(tile) == TILE_BYTES:
            yield root_of_complete(tile)
