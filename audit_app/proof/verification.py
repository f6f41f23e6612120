"""Whether the trail is what was sealed: the part of ``verify_audit`` that reads the log.

The tree is computed anew from the kept leaves, and each leaf from its event, in one pass whose
memory does not grow with the trail. An event that was changed, removed or moved is not what its
leaf says; an event that was put among sealed ones has no leaf; a leaf, a node or an order that was
changed with it leads to another root than the checkpoints signed. What was cut off at the end, or
sealed anew with the same key, only a checkpoint shows that was kept elsewhere (``against``).
"""

import heapq
import json
from base64 import b64decode
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import islice, pairwise
from operator import attrgetter
from typing import Any, Self

from django.db import connection

from audit_app.live import event_log
from audit_app.live.event_log import START, Cursor
from audit_app.models import Checkpoint, LogEpoch
from audit_app.proof import keys, notes
from audit_app.proof.merkle import (
    HASH_SIZE,
    Frontier,
    leaf_hash,
    root_of_complete,
    root_of_leaves,
    root_of_peaks,
)
from audit_app.proof.sealing import checkpoint_text
from audit_app.proof.tiles import TILE_BYTES, TILE_WIDTH, read_tile, split_hashes
from audit_app.proof.witnesses import is_cosigned_by, load_policy
from audit_app.trail.verification import Progress, Verification

CHECKPOINTS = 500
"""Checkpoints that are in memory at a time."""

CHUNK = 8
"""Tiles whose events are in memory at a time."""

BACKDATED = timedelta(days=1)
"""How much earlier an event may say that it happened than one that was committed before it: more
than any transaction lasts or a clock is set back by."""

TILES = """
SELECT number, positions, epoch, last_xid, last_position, hashes
FROM audit_log_leaves FULL JOIN (SELECT number, hashes FROM audit_log_tiles WHERE level = 0) AS tile
    USING (number)
ORDER BY number
"""
EVENTS = "SELECT position, xid, entry FROM audit_events WHERE position = ANY(%s)"
IN_ORDER = """
SELECT position, xid, entry FROM audit_events
WHERE (xid, position) > (%s::xid8, %s) AND position > %s AND position <= %s
ORDER BY xid, position
"""
NOT_SEALED = """
SELECT position, xid, id::text FROM audit_events AS event
WHERE NOT EXISTS (
    SELECT FROM (SELECT unnest(positions) AS position FROM audit_log_leaves) AS leaf
    WHERE leaf.position = event.position)
"""
WIDTHS = """
SELECT level, number, octet_length(hashes) / 32 FROM audit_log_tiles WHERE level > 0 ORDER BY 1, 2
"""
_Event = tuple[int, str, str]
"""An event's position, its transaction's number and its entry."""


@dataclass(frozen=True, slots=True)
class SignedRoot:
    """What a checkpoint says, and where it stands."""

    size: int
    root: bytes
    place: str
    origin: str = ""
    """Of one that was kept elsewhere; the others have rows."""


@dataclass(slots=True)
class LogVerification:
    """One pass over the leaves and their events, beside which the checkpoints are read."""

    verification: Verification
    size: int = 0
    not_sealed: int = 0
    newest: Checkpoint | None = None
    _tile: Frontier = field(default_factory=Frontier)
    _tiles: Frontier = field(default_factory=Frontier)
    _end: Cursor = START
    _latest: str = ""
    _confirmed: int = 0
    """The size of the largest tree that a checkpoint agrees with."""
    _contradicted: bool = False
    _in_order: bool = True
    """Whether the log has all events up to its end, in their order."""

    def verify(self, progress: Progress, kept: Iterable[SignedRoot] = ()) -> None:
        """Check the log as the caller's transaction sees it, and the events against it."""
        nodes = _Nodes(self.verification)
        by_size = attrgetter("size")
        kept = sorted(self._find_lost(kept), key=by_size)
        roots = heapq.merge(self._read_checkpoints(), kept, key=by_size)
        following = next(roots, None)
        for tile in self._check_tiles():
            end = self.size + len(tile) // HASH_SIZE
            while following and following.size <= end:
                self._grow(tile, following.size)
                self._compare(following)
                following = next(roots, None)
            self._grow(tile, end)
            if len(tile) == TILE_BYTES:
                root = self._tile.root
                self._tiles.append(root)
                nodes.check(root)
                self._tile = Frontier()
            progress(f"Checked {self.size:,} leaves of the log")
        nodes.finish()
        self._check_end(following, roots)
        self._find_unlisted()

    def _grow(self, tile: bytes, size: int) -> None:
        """Append the leaves of ``tile`` up to a tree of ``size``."""
        if size - self.size == TILE_WIDTH:  # the whole tile, which is quicker at once
            self._tile = Frontier(TILE_WIDTH, lambda *_: root_of_complete(tile))
        else:
            begin = self.size % TILE_WIDTH
            for leaf in split_hashes(tile)[begin : begin + size - self.size]:
                self._tile.append(leaf)
        self.size = size

    def _root(self) -> bytes:
        return root_of_peaks([*self._tiles.peaks, *self._tile.peaks])

    def _check_tiles(self) -> Iterator[bytes]:
        """Hold each leaf against its event; yield the tiles of leaves."""
        expected, full = 0, True
        # Closed by hand: the collector could close its cursor while a statement runs, and hang.
        with closing(_Events()) as events, connection.chunked_cursor() as cursor:
            cursor.execute(TILES)
            while rows := cursor.fetchmany(CHUNK):
                tiles = [_LeafTile.of(row) for row in rows]
                found = events.read([position for tile in tiles for position in tile.positions])
                if found is None:
                    self._in_order = False
                    events.restart(tiles[-1].end)
                for tile in tiles:
                    if tile.number != expected or not full:
                        self._find("removed", "leaves before it are missing", place=tile.place)
                    self._check_tile(tile, found)
                    expected, full = tile.number + 1, len(tile.hashes) == TILE_BYTES
                    yield tile.hashes

    def _check_tile(self, tile: "_LeafTile", found: "Iterator[_Event] | None") -> None:
        """``found``, if there is one, goes on with the tile's events, whose order is right."""
        if HASH_SIZE * len(tile.positions) != len(tile.hashes):
            self._find("changed", "it has not as many hashes as events", place=tile.place)
        events = list(islice(found, len(tile.positions))) if found else []
        if found is None or not self._is_as_sealed(tile, events):
            events = _read_events(tile.positions)
            self._check_leaves(tile, {event[0]: event for event in events})
        if events and events[-1][0] == tile.positions[-1]:
            position, xid, _ = events[-1]
            self._end = Cursor(event_log.epochs.epoch_of(position), int(xid), position)
            if tile.end != self._end:
                self._find("changed", "it does not end at its last event", place=tile.place)

    def _is_as_sealed(self, tile: "_LeafTile", events: Sequence["_Event"]) -> bool:
        """Whether all leaves are those of ``events``, and none of these is dated back."""
        leaves = [sha256(b"\x00" + entry.encode()).digest() for _, _, entry in events]
        times = [_time_of(entry) for _, _, entry in events]
        if b"".join(leaves) != tile.hashes or (times and min(times) < self._latest[:10]):
            return False
        self._latest = max(self._latest, *times)
        return True

    def _check_leaves(self, tile: "_LeafTile", events: dict[int, "_Event"]) -> None:
        """Hold each leaf of a tile against its event, one by one."""
        hashes = split_hashes(tile.hashes)
        for index, (position, leaf) in enumerate(
            zip(tile.positions, hashes, strict=False), self.size
        ):
            if position not in events:
                self._find("removed", "the event is missing", place=_leaf(index, position))
                continue
            _, xid, entry = events[position]
            if leaf_hash(entry.encode()) != leaf:
                reason = "the event is not what was sealed"
                self._find_event("changed", reason, index, position, entry)
            cursor = Cursor(event_log.epochs.epoch_of(position), int(xid), position)
            if cursor <= self._end:
                reason = "it was committed before the event in front of it"
                self._find_event("changed", reason, index, position, entry)
            self._end = cursor
            self._check_time(index, position, entry)

    def _check_time(self, index: int, position: int, entry: str) -> None:
        time = _time_of(entry)
        if time >= self._latest:
            self._latest = time
            return
        with suppress(ValueError):  # what is no time was found by the trail's own checks
            if datetime.fromisoformat(self._latest) - datetime.fromisoformat(time) > BACKDATED:
                reason = "it is dated more than a day before an event that was sealed earlier"
                self._find_event("inserted", reason, index, position, entry)

    def _read_checkpoints(self) -> Iterator[SignedRoot]:
        """The checkpoints in their order, each held against itself and the one before."""
        verifiers = keys.verifying_keys()
        epochs = self._read_epochs()
        number = size = epoch_number = 0
        witnesses = {each.key.name: each.key for each in load_policy().witnesses.values()}
        rows = Checkpoint.objects.order_by("number").prefetch_related("cosignatures")
        for checkpoint in rows.iterator(CHECKPOINTS):
            place = f"checkpoint {checkpoint.number}"
            if missing := checkpoint.number - number - 1:
                reason = f"{missing} before it {'is' if missing == 1 else 'are'} missing"
                self._find("removed", reason, place=place)
            number = checkpoint.number
            epoch = epochs.get(checkpoint.epoch_id)
            if epoch is None:
                self._find("removed", "the epoch that it belongs to is missing", place=place)
                continue
            text = checkpoint_text(epoch.origin, checkpoint.size, bytes(checkpoint.root))
            if not checkpoint.note.startswith(f"{text}\n"):
                self._find("changed", "its note says something else than its row", place=place)
            elif not notes.verify_note(checkpoint.note, epoch.origin, verifiers):
                self._find("changed", "none of our keys signed it", place=place)
            for each in checkpoint.cosignatures.all():
                # Of a witness that the policy names no more there is no key to check with.
                key = witnesses.get(each.witness)
                if key and not is_cosigned_by(key, checkpoint.note, each.line):
                    reason = f"{each.witness} did not cosign it so"
                    self._find("changed", reason, place=place)
            if checkpoint.size < size or epoch.number < epoch_number:
                self._find("changed", "it is of a smaller tree than the one before", place=place)
                continue
            size, epoch_number, self.newest = checkpoint.size, epoch.number, checkpoint
            yield SignedRoot(checkpoint.size, bytes(checkpoint.root), place)

    def _read_epochs(self) -> dict[int, LogEpoch]:
        epochs = list(LogEpoch.objects.order_by("number"))
        for expected, epoch in enumerate(epochs, 1):
            if epoch.number != expected:
                self._find("removed", "an epoch before it is missing", place=f"log {epoch.origin}")
                break
        return {epoch.number: epoch for epoch in epochs}

    def _find_lost(self, kept: Iterable[SignedRoot]) -> Iterator[SignedRoot]:
        """Yield the kept checkpoints whose leaves must be there: a restored backup lacks some."""
        epochs = list(LogEpoch.objects.order_by("number"))
        ends = {epoch.origin: after.first_size for epoch, after in pairwise(epochs)}
        known = {epoch.origin for epoch in epochs}
        for signed in kept:
            if signed.origin not in known:
                self._find("removed", f"there is no log {signed.origin}", place=signed.place)
            elif signed.size > ends.get(signed.origin, signed.size):
                reason = f"it signed {signed.size:,} leaves, of which a restored backup had only "
                self._find("removed", reason + f"{ends[signed.origin]:,}", place=signed.place)
            else:
                yield signed

    def _compare(self, signed: SignedRoot) -> None:
        """Hold a root against that of the leaves; after the first contradiction, all contradict."""
        if signed.root == self._root():
            self._confirmed = signed.size
        elif signed.origin or not self._contradicted:
            self._contradicted = self._contradicted or not signed.origin
            which = f"leaf {self._confirmed:,}"
            if signed.size - self._confirmed > 1:
                which = f"one of the leaves {self._confirmed:,} to {signed.size - 1:,}"
            self._find("changed", f"its root is another: {which} was changed", place=signed.place)

    def _check_end(self, following: SignedRoot | None, roots: Iterator[SignedRoot]) -> None:
        if following is not None:
            reason = f"it signed {following.size:,} leaves, of which {self.size:,} are left"
            self._find("removed", reason, place=following.place)
        for _ in roots:  # each is held against itself when it is read
            pass
        signed = self.newest.size if self.newest else 0
        if signed < self.size:
            reason = f"the leaves from {signed:,} to {self.size - 1:,} have no checkpoint"
            self._find("removed", reason, place="checkpoints")

    def _find_unlisted(self) -> None:
        """Events that are not in the log though they stand before its end."""
        if self._in_order:  # there are none: all events up to the end were read in their order
            self.not_sealed = event_log.count_behind(self._end)
            return
        with connection.chunked_cursor() as cursor:
            cursor.execute(NOT_SEALED)
            for position, xid, event_id in cursor:
                epoch = event_log.epochs.epoch_of(position)
                if Cursor(epoch, int(xid), position) > self._end:
                    self.not_sealed += 1
                    continue
                reason = "the events before and behind it were sealed without it"
                self._find("inserted", reason, event_id=event_id, place=f"position {position}")

    def _find_event(self, what: Any, reason: str, index: int, position: int, entry: str) -> None:
        self._find(what, reason, place=_leaf(index, position), event_id=_id_of(entry))

    def _find(self, what: Any, reason: str, **where: Any) -> None:
        self.verification.find(what, reason, **where)


@dataclass(frozen=True, slots=True)
class _LeafTile:
    """One tile of level 0, with what is known of its events."""

    number: int
    positions: Sequence[int]
    end: Cursor
    hashes: bytes

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> Self:
        number, positions, epoch, xid, position, hashes = row
        end = Cursor(epoch or 0, xid or 0, position or 0)
        return cls(number, positions or (), end, bytes(hashes or b""))

    @property
    def place(self) -> str:
        return _tile(self.number)


class _Events:
    """The events in commit order, read once and beside the leaves."""

    def __init__(self) -> None:
        self._events = self._read_behind(START)

    def close(self) -> None:
        self._events.close()

    def restart(self, after: Cursor) -> None:
        """Go on behind ``after``."""
        self.close()
        self._events = self._read_behind(after)

    def read(self, positions: Sequence[int]) -> Iterator[_Event] | None:
        """The next events, if they are those at ``positions``; else None, and a restart is due."""
        events = list(islice(self._events, len(positions)))
        return iter(events) if [event[0] for event in events] == positions else None

    def _read_behind(self, after: Cursor) -> Generator[_Event]:
        for epoch in range(after.epoch, event_log.epochs.current + 1):
            xid, position = (after.xid, after.position) if epoch == after.epoch else (0, 0)
            with connection.chunked_cursor() as cursor:
                bounds = event_log.epochs.bounds(epoch)
                cursor.execute(IN_ORDER, [str(xid), position, *bounds])
                while events := cursor.fetchmany(CHUNK * TILE_WIDTH):
                    yield from events


@dataclass(slots=True)
class _Level:
    count: int = 0
    hashes: list[bytes] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)


class _Nodes:
    """The levels above the leaves, computed anew and held against the kept tiles."""

    def __init__(self, verification: Verification) -> None:
        self._verification = verification
        self._levels: list[_Level] = []

    def check(self, root: bytes, level: int = 1) -> None:
        """Take the root of the next full tile of the level below."""
        if len(self._levels) < level:
            self._levels.append(_Level())
        here = self._levels[level - 1]
        number, offset = divmod(here.count, TILE_WIDTH)
        if not offset:
            here.hashes, here.kept = [], split_hashes(read_tile(level, number))
        if here.kept[offset : offset + 1] != [root]:
            what = "changed" if offset < len(here.kept) else "removed"
            reason = f"hash {offset} is not that of the tile below"
            self._find(what, reason, level, number)
        here.count += 1
        here.hashes.append(root)
        if len(here.hashes) == TILE_WIDTH:
            self.check(root_of_leaves(here.hashes), level + 1)

    def finish(self) -> None:
        """Find tiles, or hashes in tiles, that nothing below accounts for."""
        with connection.cursor() as cursor:
            cursor.execute(WIDTHS)
            for level, number, width in cursor.fetchall():
                count = self._levels[level - 1].count if level <= len(self._levels) else 0
                if width > min(count - number * TILE_WIDTH, TILE_WIDTH):
                    self._find("inserted", "it has hashes of nothing below it", level, number)

    def _find(self, what: Any, reason: str, level: int, number: int) -> None:
        self._verification.find(what, reason, place=_tile(number, level))


def read_kept_checkpoint(note: str, place: str) -> SignedRoot:
    """A checkpoint that was kept elsewhere.

    Raises ValueError if ``note`` is no checkpoint that one of our keys signed.
    """
    try:
        origin, size, root = note.split("\n\n")[0].split("\n")
        signed = SignedRoot(int(size), b64decode(root, validate=True), place, origin)
    except ValueError:
        raise ValueError(f"{place} is no checkpoint of a transparency log.") from None
    if not notes.verify_note(note, origin, keys.verifying_keys()):
        raise ValueError(f"None of our keys signed {place}.")
    return signed


def _read_events(positions: Sequence[int]) -> list[_Event]:
    """In the order of ``positions``; those that are not there are left out."""
    with connection.cursor() as cursor:
        cursor.execute(EVENTS, [list(positions)])
        found = {event[0]: event for event in cursor.fetchall()}
    return [found[position] for position in positions if position in found]


def _time_of(entry: str) -> str:
    """The member ``timestamp``: those behind it hold no text of anybody's."""
    begin = entry.rfind('"timestamp":"') + 13
    return entry[begin : begin + 27]


def _id_of(entry: str) -> str | None:
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        return str(json.loads(entry)["event_id"])
    return None


def _leaf(index: int, position: int) -> str:
    return f"leaf {index}, position {position}"


def _tile(number: int, level: int = 0) -> str:
    return f"tile {level}/{number} of the log"
