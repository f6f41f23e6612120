"""Sealing: events become leaves of a Merkle tree, and a signed checkpoint promises that they stay.

One sealer at a time (an advisory lock) appends the next stable events in commit order
(live/event_log.py) and signs a checkpoint of the tree's new root, all in one transaction. So it may
stop anywhere, writers never wait for it, an event that commits late still comes behind the sealed
ones, and a number that was rolled back is no gap.

The checkpoints' origin names the log. A log must never sign two trees that contradict each other,
which a restored backup would: whatever was sealed after the backup is gone. So the sealer remembers
in which cluster, database, table and timeline it writes, and begins an *epoch* with another origin
(``…-2``) wherever these are new. The new epoch keeps the leaves that were restored.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.conf import settings
from django.db import connection, transaction

from audit_app.live import event_log
from audit_app.live.event_log import START, Cursor
from audit_app.models import Checkpoint, Event, LogEpoch, LogLeaves
from audit_app.proof import keys, notes
from audit_app.proof.merkle import leaf_hash, root_of
from audit_app.proof.tiles import TILE_WIDTH, append_hashes, tile_reader

BATCH = 4096
"""Events that one transaction seals."""

LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('audit_log'))"
# A standby that is promoted and a recovery to a point in time begin a timeline; a restored dump has
# another table, database or cluster.
IDENTITY = """
SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
    (SELECT oid FROM pg_database WHERE datname = current_database()),
    'audit_checkpoints'::regclass::oid, left(pg_walfile_name(pg_current_wal_lsn()), 8))
"""
FIRST, RESTORED, RENAMED = "the first", "restored or moved", "AUDIT_LOG_ORIGIN was changed"


@dataclass(frozen=True, slots=True)
class End:
    """Where the log ends: how many leaves it has, and the cursor behind the last one's event."""

    size: int
    cursor: Cursor


def is_sealing_configured() -> bool:
    """Whether events are to be sealed, and there is a key to sign checkpoints with."""
    return settings.AUDIT_SEAL and bool(keys.signing_keys())


def seal_batch(limit: int = BATCH, *, new_epoch: str = "") -> int:
    """Seal the next events, at most ``limit``, with a checkpoint, in a transaction of their own.

    Returns how many events; 0 if nothing is left to seal or another sealer is at work. Where there
    is a reason for a ``new_epoch``, it begins first.
    """
    with transaction.atomic(durable=True):
        return seal_events(limit, new_epoch=new_epoch) if _lock() else 0


def seal_events(limit: int = BATCH, *, new_epoch: str = "") -> int:
    """What ``seal_batch`` does, in the caller's transaction, which holds the lock."""
    end = find_log_end()
    rows = Event.objects.values_list("position", "xid", "entry", named=True)
    events = event_log.read_kept(end.cursor, limit, among=cast(Any, rows))
    epoch = _find_epoch()
    reason = new_epoch or _reason_to_begin(epoch)
    if epoch is None or reason:
        epoch = _begin_epoch(epoch, end.size, reason)
    elif not events:
        return 0
    if events:
        _append(end.size, events)
    if size := end.size + len(events):
        _sign_checkpoint(epoch, size)
    return len(events)


def _append(size: int, events: Sequence[Any]) -> None:
    append_hashes(size, [leaf_hash(event.entry.encode()) for event in events])
    number, offset = divmod(size, TILE_WIDTH)
    positions = LogLeaves.objects.get(number=number).positions if offset else []
    rows: list[LogLeaves] = []
    for begin in range(-offset, len(events), TILE_WIDTH):
        chunk = events[max(begin, 0) : begin + TILE_WIDTH]
        positions += [event.position for event in chunk]
        end = event_log.cursor_of(chunk[-1])
        rows.append(
            LogLeaves(
                number=number + len(rows),
                positions=positions,
                epoch=end.epoch,
                last_xid=end.xid,
                last_position=end.position,
            )
        )
        positions = []
    LogLeaves.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["number"],
        update_fields=["positions", "epoch", "last_xid", "last_position"],
    )


def _sign_checkpoint(epoch: LogEpoch, size: int) -> None:
    root = root_of(size, tile_reader())
    text = checkpoint_text(epoch.origin, size, root)
    last = Checkpoint.objects.order_by("-number").values_list("number", flat=True).first()
    Checkpoint.objects.create(
        number=(last or 0) + 1,
        epoch=epoch,
        size=size,
        root=root,
        note=notes.sign_note(text, epoch.origin, keys.signing_keys()[0]),
    )


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """What is signed: c2sp.org/tlog-checkpoint without extension lines."""
    return f"{origin}\n{size}\n{b64encode(root).decode()}\n"


def _find_epoch() -> LogEpoch | None:
    return LogEpoch.objects.order_by("-number").first()


def _reason_to_begin(epoch: LogEpoch | None) -> str:
    """Why the log can't go on in ``epoch``; empty if it can."""
    if epoch is None:
        return FIRST
    if epoch.identity != _read_value(IDENTITY):
        return RESTORED
    return "" if epoch.origin == origin_of(epoch.number) else RENAMED


def _begin_epoch(before: LogEpoch | None, size: int, reason: str) -> LogEpoch:
    number = before.number + 1 if before else 1
    return LogEpoch.objects.create(
        number=number,
        origin=origin_of(number),
        first_size=size,
        identity=_read_value(IDENTITY),
        reason=reason,
    )


def origin_of(number: int) -> str:
    """The origin line of the epoch's checkpoints: a witness knows each by its own name."""
    base: str = settings.AUDIT_LOG_ORIGIN
    return base if number == 1 else f"{base}-{number}"


def find_log_end() -> End:
    """Where the log ends now."""
    last = LogLeaves.objects.order_by("-number").first()
    if last is None:
        return End(0, START)
    size = last.number * TILE_WIDTH + len(last.positions)
    return End(size, Cursor(last.epoch, last.last_xid, last.last_position))


def count_not_sealed() -> int:
    """How many events wait to be sealed, whether they are stable or not."""
    return event_log.count_behind(find_log_end().cursor)


def _lock() -> bool:
    return bool(_read_value(LOCK))


def _read_value(query: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]
