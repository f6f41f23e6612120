"""Proofs that an event is in the log, as ``c2sp.org/tlog-proof@v1`` files say them."""

from base64 import b64encode
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit_app.live import event_log
from audit_app.models import Checkpoint, Event, LogLeaves
from audit_app.proof.merkle import inclusion_proof, leaf_hash
from audit_app.proof.tiles import TILE_WIDTH, tile_reader

MEDIA_TYPE = "text/plain; charset=utf-8"
FIRST_LINE = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class LeafPosition:
    """Where an event stands in the log, and the hash of what is written there."""

    event_id: UUID
    index: int
    leaf: bytes


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That the tree whose root ``checkpoint`` signs has ``leaf`` at ``index``."""

    index: int
    leaf: bytes
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint

    def as_text(self, note: str | None = None) -> str:
        """The ``.tlog-proof`` file; with ``note``, another text of the checkpoint, such as the one
        that witnesses cosigned."""
        lines = [FIRST_LINE, f"index {self.index}"]
        lines += [b64encode(hash_).decode() for hash_ in self.hashes]
        return "\n".join([*lines, "", note or self.checkpoint.note])


def find_leaf(event_id: UUID) -> LeafPosition | None:
    """Where the event stands in the log; None if there is no such event, or it is not sealed."""
    columns = ("position", "xid", "entry")
    event: Any = Event.objects.filter(pk=event_id).values_list(*columns, named=True).first()
    if event is None:
        return None
    # The tile is the first that ends at the event or behind it.
    end = event_log.cursor_of(event)
    tiles = LogLeaves.objects.extra(  # a comparison of rows, which querysets can't say
        where=["(epoch, last_xid, last_position) >= (%s, %s, %s)"],
        params=[end.epoch, end.xid, end.position],
    )
    tile = tiles.order_by("epoch", "last_xid", "last_position").first()
    if tile is None or event.position not in tile.positions:
        return None
    index = tile.number * TILE_WIDTH + tile.positions.index(event.position)
    return LeafPosition(event_id, index, leaf_hash(event.entry.encode()))


def prove(event_id: UUID, *, checkpoint: Checkpoint | None = None) -> InclusionProof | None:
    """Prove that the event is in the log, under ``checkpoint`` or else the newest one.

    None if there is no such event, or no such checkpoint covers it.
    """
    leaf = find_leaf(event_id)
    checkpoint = checkpoint or newest_checkpoint()
    if leaf is None or checkpoint is None or leaf.index >= checkpoint.size:
        return None
    hashes = inclusion_proof(leaf.index, checkpoint.size, tile_reader())
    return InclusionProof(leaf.index, leaf.leaf, tuple(hashes), checkpoint)


def newest_checkpoint() -> Checkpoint | None:
    return Checkpoint.objects.select_related("epoch").order_by("-number").first()
