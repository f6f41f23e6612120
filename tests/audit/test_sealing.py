"""Events become leaves in the order of their commits, whatever happens to the sealer."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from django.db import IntegrityError, OperationalError, ProgrammingError, connection, transaction

from audit_app.models import Checkpoint, Event, LogEpoch, LogLeaves, LogTile
from audit_app.proof import sealing
from audit_app.proof.merkle import (
    consistency_proof,
    leaf_hash,
    root_of_leaves,
    verify_consistency,
    verify_inclusion,
)
from audit_app.proof.proofs import find_leaf, prove
from audit_app.proof.tiles import read_tile, tile_reader, tile_width
from tests.awaiting import until
from tests.database import as_superuser, without_guards
from tests.trail import wait_until_stable, write_event, writer


def write_events(count):
    with writer() as other:
        return [write_event(other) for _ in range(count)]


def seal_all(limit=sealing.BATCH):
    wait_until_stable()
    sealed = 0
    while step := sealing.seal_batch(limit):
        sealed += step
    return sealed


def sealed_positions():
    rows = LogLeaves.objects.order_by("number").values_list("positions", flat=True)
    return [position for positions in rows for position in positions]


def leaves():
    entries = dict(Event.objects.values_list("position", "entry"))
    return [leaf_hash(entries[position].encode()) for position in sealed_positions()]


def check_log():
    """Recompute everything from the events."""
    hashes = leaves()
    for checkpoint in Checkpoint.objects.all():
        assert bytes(checkpoint.root) == root_of_leaves(hashes[: checkpoint.size])
    assert Checkpoint.objects.last().size == len(hashes)
    return hashes


def test_every_event_is_sealed_once_in_order():
    written = write_events(5)
    assert seal_all() == 5
    assert seal_all() == 0, "nothing new, so nothing is signed"
    assert sealed_positions() == written
    assert Checkpoint.objects.count() == 1
    written += write_events(1)
    assert seal_all() == 1
    assert sealed_positions() == written
    assert [c.size for c in Checkpoint.objects.all()] == [5, 6]
    check_log()


@pytest.mark.parametrize("limit", [1, 7, 255, 256, 257, 4096])
def test_whatever_the_batches_the_tree_is_the_same(limit):
    write_events(3 if limit == 1 else 600)
    seal_all(limit)
    hashes = check_log()
    size = len(hashes)
    read = tile_reader()
    for old in {1, 2, size // 2, size - 1}:
        proof = consistency_proof(old, size, read)
        roots = root_of_leaves(hashes[:old]), root_of_leaves(hashes)
        assert verify_consistency(old, size, *roots, proof)


def test_proofs():
    write_events(300)
    seal_all(100)
    for event in Event.objects.order_by("position")[::37]:
        proof = prove(event.pk)
        leaf = find_leaf(event.pk)
        assert (leaf.index, leaf.leaf) == (proof.index, leaf_hash(event.entry.encode()))
        root = bytes(proof.checkpoint.root)
        assert verify_inclusion(proof.leaf, proof.index, 300, proof.hashes, root)
    early = Checkpoint.objects.get(size=100)
    first, last = Event.objects.order_by("position").first(), Event.objects.last()
    assert prove(first.pk, checkpoint=early).checkpoint == early
    assert prove(last.pk, checkpoint=early) is None, "it was sealed later"


def test_an_event_that_is_not_sealed_has_no_proof():
    write_events(3)
    seal_all()
    write_events(1)
    event = Event.objects.order_by("position").last()
    assert find_leaf(event.pk) is None
    assert prove(event.pk) is None


def test_who_commits_late_is_sealed_behind_who_is_waited_for():
    with writer() as slow, writer() as quick:
        first = write_event(slow)
        second = write_event(quick)
        quick.commit()
        assert sealing.seal_batch() == 0, "what may still be written before is waited for"
        slow.commit()
    seal_all()
    assert sealed_positions() == [first, second]


def test_a_number_that_was_rolled_back_is_no_gap():
    first = write_events(1)
    with writer() as other:
        write_event(other)
        other.rollback()
    last = write_events(1)
    seal_all()
    assert sealed_positions() == first + last
    check_log()


def test_one_sealer_at_a_time():
    write_events(2)
    wait_until_stable()
    with writer() as other:
        other.execute(sealing.LOCK)
        assert sealing.seal_batch() == 0
    assert seal_all() == 2


def test_a_sealer_that_dies_leaves_nothing_half_done():
    write_events(3)
    seal_all()
    write_events(600)
    wait_until_stable()
    with as_superuser() as admin, ThreadPoolExecutor(1) as pool:
        admin.execute("LOCK TABLE audit_checkpoints")  # the last that a batch writes to
        sealer = pool.submit(seal_and_disconnect)
        until(lambda: admin.execute(END_WHO_WAITS).fetchone())
        assert isinstance(sealer.exception(), OperationalError)
    assert len(sealed_positions()) == 3
    assert seal_all() == 600
    check_log()


END_WHO_WAITS = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE relation = 'audit_checkpoints'::regclass AND NOT granted"""


def seal_and_disconnect():
    try:
        return sealing.seal_batch()
    finally:
        connection.close()


def test_a_restored_database_begins_an_epoch_of_its_own(settings):
    """To the sealer, another database of the same cluster is what a restored dump is."""
    settings.AUDIT_LOG_ORIGIN = "orchestrator.example/audit/log"
    write_events(3)
    seal_all()
    with without_guards() as admin:
        admin.execute("UPDATE audit_log_epochs SET identity = 'elsewhere'")
    assert seal_all() == 0
    assert [c.size for c in Checkpoint.objects.all()] == [3, 3]
    write_events(2)
    seal_all()
    first, second = LogEpoch.objects.order_by("number")
    assert (first.origin, second.origin) == (
        "orchestrator.example/audit/log",
        "orchestrator.example/audit/log-2",
    )
    assert (second.first_size, second.reason) == (3, sealing.RESTORED)
    assert Checkpoint.objects.last().note.startswith("orchestrator.example/audit/log-2\n5\n")
    check_log()


def test_another_name_begins_an_epoch(settings):
    write_events(1)
    seal_all()
    settings.AUDIT_LOG_ORIGIN = "other.example/audit/log"
    seal_all()
    assert LogEpoch.objects.last().reason == sealing.RENAMED
    assert Checkpoint.objects.last().note.startswith("other.example/audit/log-2\n1\n")


@contextmanager
def expect_refusal(message="is refused"):
    with pytest.raises(IntegrityError, match=message), transaction.atomic():
        yield


def test_what_was_sealed_stays():
    write_events(3)
    seal_all()
    tile = LogTile.objects.get()
    with expect_refusal():
        LogTile.objects.update(hashes=bytes(32) + bytes(tile.hashes)[32:] + bytes(32))
    with expect_refusal():
        LogTile.objects.update(hashes=bytes(tile.hashes)[:32])
    with expect_refusal():
        LogLeaves.objects.update(positions=[1, 2, 3, 4])
    for table in ("audit_log_tiles", "audit_log_leaves", "audit_log_epochs", "audit_checkpoints"):
        with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
            execute(f"DELETE FROM {table}")
        with as_superuser() as admin, pytest.raises(psycopg.IntegrityError, match="is refused"):
            admin.execute(f"DELETE FROM {table}")
        with as_superuser() as admin, pytest.raises(psycopg.IntegrityError, match="is refused"):
            admin.execute(f"TRUNCATE {table} CASCADE")
    for table, column in (("audit_log_epochs", "origin"), ("audit_checkpoints", "note")):
        with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
            execute(f"UPDATE {table} SET {column} = ''")
        with as_superuser() as admin, pytest.raises(psycopg.IntegrityError, match="is refused"):
            admin.execute(f"UPDATE {table} SET {column} = ''")


def execute(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_tiles_have_the_widths_of_the_specification():
    """tlog-tiles: a tree of 70,000 leaves, and one of 256."""
    assert tile_width(0, 272, 70_000) == 256
    assert tile_width(0, 273, 70_000) == 112
    assert tile_width(1, 0, 70_000) == 256
    assert tile_width(1, 1, 70_000) == 17
    assert tile_width(2, 0, 70_000) == 1
    assert tile_width(1, 0, 256) == 1
    assert tile_width(0, 1, 256) == 0


def test_full_tiles_are_hashed_into_the_level_above():
    write_events(520)
    seal_all(200)
    assert len(read_tile(0, 2)) == 8 * 32
    assert len(read_tile(1, 0)) == 2 * 32
    assert read_tile(1, 1) == b""
