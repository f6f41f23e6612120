"""What a superuser changes whom no trigger stops, and what the log says of it.

The world is made once. Each tampering happens in a transaction that is checked and rolled back.
``TAMPERINGS=1000`` tries that many random ones, and as many honest histories in
test_honest_histories.py.
"""

import json
import os
import random
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection, transaction

from audit_app.base.canonical import canonical
from audit_app.models import Checkpoint
from audit_app.proof import keys, sealing
from audit_app.proof.verification import LogVerification, read_kept_checkpoint
from audit_app.trail.verification import Verification
from tests.audit.test_sealing import seal_all
from tests.database import become_the_application, become_the_superuser, empty
from tests.factories import AgentFactory, ReviewerFactory, TaskFactory, approve_task
from tests.trail import write_event, writer

ATTEMPTS = int(os.environ.get("TAMPERINGS", "60"))


@pytest.fixture(scope="module", autouse=True)
def database(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        become_the_superuser()
        build_world()
        yield
        become_the_application()
        empty()


@pytest.fixture(autouse=True)
def forget_epochs():
    """Not here: the world's are the same for all tests."""
    return


def build_world():
    """An approval and notes, sealed under several checkpoints; some numbers were rolled back."""
    task = TaskFactory(agent=AgentFactory(name="bot", roles=["support-agent"]))
    approve_task(task, by=ReviewerFactory(username="alice", roles=["finance"]))
    seal_all()
    for count in (1, 30, 250, 20):
        write_notes(count)
        seal_all()


def write_notes(count):
    with writer() as other:
        write_event(other)
        other.rollback()
        for _ in range(count):
            write_event(other)


@contextmanager
def undone():
    """A transaction of a superuser whom no trigger stops; nothing of it stays."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield cursor
        transaction.set_rollback(True)


def findings(*kept):
    verification = Verification()
    kept = [read_kept_checkpoint(note, "kept.txt") for note in kept]
    LogVerification(verification).verify(lambda _: None, kept)
    return [str(finding) for finding in verification.findings]


def newest_note():
    return Checkpoint.objects.last().note


def value(statement, *params):
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchone()[0]


def test_what_nobody_touched_is_whole():
    with undone():
        assert value("SELECT count(*) FROM audit_log_leaves") == 2
        assert findings() == []
        assert findings(*Checkpoint.objects.values_list("note", flat=True)) == []


MIDDLE = "(SELECT position FROM audit_events ORDER BY position OFFSET 100 LIMIT 1)"
FORGED = """
    INSERT INTO audit_events (position, xid, entry) OVERRIDING SYSTEM VALUE
    SELECT (SELECT min(gap) FROM generate_series(1, 1000000) AS gap
            WHERE gap > {after} AND NOT EXISTS (SELECT FROM audit_events WHERE position = gap)),
        (SELECT xid FROM audit_events WHERE position = {after}), audit_entry(
        event_type => 'approval.approved', actor => 'human:alice', actor_id => '1',
        subject_type => 'approval', subject_id => gen_random_uuid(), seq => 2,
        from_state => 'pending', to_state => 'approved', role => 'finance', trace_id => NULL,
        metadata => '{{}}')"""

TAMPERINGS = {
    "a byte of an event": (
        'UPDATE audit_events SET entry = replace(entry, \'"actor":"human:alice"\', '
        "'\"actor\":\"human:alicf\"') WHERE event_type = 'vote.cast'",
        "changed: event {vote}, leaf 4, position",
    ),
    "one event deleted from the middle": (
        f"DELETE FROM audit_events WHERE position = {MIDDLE}",
        "removed: leaf 100, position",
    ),
    "the last ten deleted": (
        "DELETE FROM audit_events WHERE position IN "
        "(SELECT position FROM audit_events ORDER BY position DESC LIMIT 10)",
        "removed: leaf 307, position",
    ),
    "a forged approval among the others": (
        FORGED.format(after=f"(SELECT max(position) FROM audit_events WHERE position < {MIDDLE})"),
        "were sealed without it",
    ),
    "a leaf of another event": (
        "UPDATE audit_log_tiles SET hashes = set_byte(hashes, 3210, 7) "
        "WHERE level = 0 AND number = 0",
        "changed: event ",
    ),
    "a node": (
        "UPDATE audit_log_tiles SET hashes = set_byte(hashes, 7, 7) WHERE level = 1",
        "changed: tile 1/0 of the log: hash 0 is not that of the tile below",
    ),
    "a node more": (
        "UPDATE audit_log_tiles SET hashes = hashes || hashes WHERE level = 1",
        "inserted: tile 1/0 of the log",
    ),
    "the nodes deleted": ("DELETE FROM audit_log_tiles WHERE level = 1", "removed: tile 1/0"),
    "a tile deleted": (
        "DELETE FROM audit_log_tiles WHERE level = 0 AND number = 0;"
        "DELETE FROM audit_log_leaves WHERE number = 0",
        "removed: tile 0/1 of the log: leaves before it are missing",
    ),
    "the last leaves cut off": (
        "UPDATE audit_log_tiles SET hashes = substr(hashes, 1, 64) WHERE number = 1;"
        "UPDATE audit_log_leaves SET positions = positions[1:2] WHERE number = 1",
        "it signed 288 leaves, of which 258 are left",
    ),
    "a checkpoint deleted": (
        "DELETE FROM audit_checkpoints WHERE number = 2",
        "removed: checkpoint 3: 1 before it is missing",
    ),
    "the last checkpoint deleted": (
        "DELETE FROM audit_checkpoints WHERE number = 5",
        "removed: checkpoints: the leaves from 288 to 307 have no checkpoint",
    ),
    "a checkpoint's signature": (
        "UPDATE audit_checkpoints SET note = overlay(note placing 'AAAA' from length(note) - 20)",
        "none of our keys signed it",
    ),
    "a checkpoint's root": (
        "UPDATE audit_checkpoints SET root = set_byte(root, 0, 7) WHERE number = 3",
        "changed: checkpoint 3: its note says something else than its row",
    ),
    "a checkpoint's size": (
        "UPDATE audit_checkpoints SET size = size + 1 WHERE number = 3",
        "changed: checkpoint 3: its note says something else than its row",
    ),
    "the origin": ("UPDATE audit_log_epochs SET origin = 'other'", "its note says something else"),
    "the epochs deleted": (
        "DELETE FROM audit_log_epochs",
        "the epoch that it belongs to is missing",
    ),
    "a leaf without event": (
        "UPDATE audit_log_leaves SET positions = positions || 999999::bigint WHERE number = 1;"
        "UPDATE audit_log_tiles SET hashes = hashes || sha256('x') WHERE level = 0 AND number = 1",
        "removed: leaf 308, position 999999: the event is missing",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_tampering(name):
    statement, expected = TAMPERINGS[name]
    vote = value("SELECT id::text FROM audit_events WHERE event_type = 'vote.cast'")
    with undone() as cursor:
        cursor.execute(statement)
        found = findings()
    assert any(expected.format(vote=vote) in line for line in found), found


def test_two_events_swapped():
    with undone() as cursor:
        swap_entries(cursor, *pair())
        found = findings()
    assert sum("the event is not what was sealed" in line for line in found) == 2, found


def test_two_ids_swapped():
    with undone() as cursor:
        swap_entries(cursor, *pair(), keep=("actor", "subject_id", "timestamp"))
        found = findings()
    assert sum("the event is not what was sealed" in line for line in found) == 2, found


def pair():
    """The positions of two notes."""
    statement = "SELECT position FROM audit_events WHERE event_type = 'agent.noted' ORDER BY 1"
    with connection.cursor() as cursor:
        return every(cursor, statement)[50:52]


def swap_entries(cursor, a, b, keep=()):
    """Put the event at ``a`` where ``b`` is and the reverse; each place keeps some members."""
    entries = [json.loads(read_entry(cursor, position)) for position in (a, b)]
    for name in keep:
        entries[0][name], entries[1][name] = entries[1][name], entries[0][name]
    xids = [value("SELECT xid::text FROM audit_events WHERE position = %s", p) for p in (a, b)]
    cursor.execute("DELETE FROM audit_events WHERE position IN (%s, %s)", [a, b])
    insert(cursor, a, xids[0], canonical(entries[1]))
    insert(cursor, b, xids[1], canonical(entries[0]))


def read_entry(cursor, position):
    cursor.execute("SELECT entry FROM audit_events WHERE position = %s", [position])
    return cursor.fetchone()[0]


def insert(cursor, position, xid, entry):
    cursor.execute(
        "INSERT INTO audit_events (position, xid, entry) OVERRIDING SYSTEM VALUE "
        "VALUES (%s, %s, %s)",
        [position, xid, entry],
    )


def test_two_leaves_swapped_with_their_events_order():
    with undone() as cursor:
        cursor.execute(
            "UPDATE audit_log_leaves SET positions = positions[1:3] || positions[5] || positions[4]"
            " || positions[6:256] WHERE number = 0;"
            "UPDATE audit_log_tiles SET hashes = substr(hashes, 1, 96) || substr(hashes, 129, 32) "
            "|| substr(hashes, 97, 32) || substr(hashes, 161) WHERE level = 0 AND number = 0"
        )
        found = findings()
    assert any("it was committed before the event in front of it" in line for line in found)
    assert any("its root is another" in line for line in found)


REWRITTEN = """
    UPDATE audit_events SET entry = replace(entry, 'human:alice', 'human:mallo')
    WHERE event_type = 'vote.cast';
    DELETE FROM audit_checkpoints; DELETE FROM audit_log_tiles; DELETE FROM audit_log_leaves;
    DELETE FROM audit_log_epochs"""


def reseal():
    while sealing.seal_events(100):
        pass


def test_everything_rewritten_and_sealed_with_another_key(monkeypatch):
    mine = keys.SigningKey(Ed25519PrivateKey.generate())
    with undone() as cursor:
        cursor.execute(REWRITTEN)
        with monkeypatch.context() as patched:
            patched.setattr(keys, "signing_keys", lambda: (mine,))
            reseal()
        found = findings()
        assert value("SELECT count(*) FROM audit_checkpoints") == 4
    assert sum("none of our keys signed it" in line for line in found) == 4


def test_everything_rewritten_and_sealed_with_the_stolen_key():
    """The database says nothing of it; a checkpoint that was kept elsewhere does."""
    kept = newest_note()
    with undone() as cursor:
        cursor.execute(REWRITTEN)
        reseal()
        assert findings() == []
        found = findings(kept)
    assert len(found) == 1
    assert found[0].startswith("changed: kept.txt: its root is another")


OLDER = """
    DELETE FROM audit_checkpoints WHERE number > 3;
    DELETE FROM audit_log_tiles WHERE number > 0 OR level > 0;
    DELETE FROM audit_log_leaves WHERE number > 0;
    DELETE FROM audit_events WHERE position NOT IN
        (SELECT unnest(positions[1:38]) FROM audit_log_leaves);
    UPDATE audit_log_tiles SET hashes = substr(hashes, 1, 38 * 32);
    UPDATE audit_log_leaves SET positions = positions[1:38], (last_xid, last_position) =
        (SELECT xid::text::bigint, position FROM audit_events WHERE position = positions[38])"""


def test_an_older_state_restored():
    kept = newest_note()
    with undone() as cursor:
        cursor.execute(OLDER)
        assert findings() == [], "it was the truth"
        assert findings(kept) == ["removed: kept.txt: it signed 308 leaves, of which 38 are left"]
        sealing.seal_events(new_epoch="restored")
        assert findings() == []
        found = findings(kept)
    assert found == [
        "removed: kept.txt: it signed 308 leaves, of which a restored backup had only 38"
    ]


def test_no_log_at_all():
    kept = newest_note()
    with undone() as cursor:
        cursor.execute(REWRITTEN)
        found = findings(kept)
    assert found == ["removed: kept.txt: there is no log 127.0.0.1/audit/log"]


def test_what_the_log_does_not_tell():
    """Something inserted now is sealed like anything else that happens now."""
    with undone() as cursor:
        cursor.execute(FORGED.format(after="(SELECT max(position) FROM audit_events)"))
        assert findings() == []
        sealing.seal_events()
        assert findings() == []


def test_a_forged_event_of_long_ago_that_is_sealed_today():
    with undone() as cursor:
        cursor.execute(FORGED.format(after="(SELECT max(position) FROM audit_events)"))
        cursor.execute(
            'UPDATE audit_events SET entry = regexp_replace(entry, \'"timestamp":"20..\', '
            '\'"timestamp":"2001\') WHERE position = (SELECT max(position) FROM audit_events)'
        )
        sealing.seal_events()
        found = findings()
    assert any("dated more than a day before" in line for line in found), found


def test_a_checkpoint_of_somebody_else_proves_nothing(monkeypatch):
    mine = keys.SigningKey(Ed25519PrivateKey.generate())
    with undone(), monkeypatch.context() as patched:
        patched.setattr(keys, "signing_keys", lambda: (mine,))
        sealing.seal_events(new_epoch="mine")
        note = newest_note()
    with pytest.raises(ValueError, match=r"None of our keys signed kept\.txt"):
        read_kept_checkpoint(note, "kept.txt")
    with pytest.raises(ValueError, match="is no checkpoint"):
        read_kept_checkpoint("hello", "kept.txt")


def any_position(cursor, chance):
    return chance.choice(every(cursor, "SELECT position FROM audit_events ORDER BY 1"))


def every(cursor, statement):
    cursor.execute(statement)
    return [found for (found,) in cursor.fetchall()]


def change_an_entry(cursor, chance):
    position = any_position(cursor, chance)
    entry = read_entry(cursor, position)
    at = entry.index('"event_id":"') + 12 + chance.choice([0, 3, 7, 20, 30])
    other = chance.choice([c for c in "0123456789abcdef" if c != entry[at]])
    cursor.execute(
        "UPDATE audit_events SET entry = %s WHERE position = %s",
        [entry[:at] + other + entry[at + 1 :], position],
    )


def delete_an_event(cursor, chance):
    cursor.execute("DELETE FROM audit_events WHERE position = %s", [any_position(cursor, chance)])


def delete_the_last(cursor, chance):
    cursor.execute(
        "DELETE FROM audit_events WHERE position IN "
        "(SELECT position FROM audit_events ORDER BY 1 DESC LIMIT %s)",
        [chance.randint(1, 200)],
    )


def swap_two(cursor, chance):
    positions = every(cursor, "SELECT position FROM audit_events ORDER BY 1")
    swap_entries(cursor, *chance.sample(positions, 2))


def move_an_event(cursor, chance):
    position = any_position(cursor, chance)
    entry = read_entry(cursor, position)
    xid = value("SELECT xid::text FROM audit_events WHERE position = %s", position)
    cursor.execute("DELETE FROM audit_events WHERE position = %s", [position])
    insert(cursor, 1_000_000, xid, entry)


def forge_an_event(cursor, chance):
    last = value(
        "SELECT max(position) FROM audit_events WHERE xid < (SELECT max(xid) FROM audit_events)"
    )
    positions = every(cursor, f"SELECT position FROM audit_events WHERE position < {last - 25}")
    cursor.execute(FORGED.format(after=chance.choice(positions)))


def change_a_tile(cursor, chance):
    level, number, width = chance.choice([(0, 0, 8192), (0, 1, 50 * 32), (1, 0, 32)])
    at = chance.randrange(width)
    cursor.execute(
        "UPDATE audit_log_tiles SET hashes = set_byte(hashes, %s, get_byte(hashes, %s) # 1) "
        "WHERE level = %s AND number = %s",
        [at, at, level, number],
    )


def shorten_the_log(cursor, chance):
    left = chance.randrange(1, 50)
    cursor.execute(
        "UPDATE audit_log_tiles SET hashes = substr(hashes, 1, %s * 32) "
        "WHERE level = 0 AND number = 1",
        [left],
    )
    cursor.execute(
        "UPDATE audit_log_leaves SET positions = positions[1:%s] WHERE number = 1", [left]
    )


def swap_two_leaves(cursor, chance):
    a, b = sorted(chance.sample(range(1, 257), 2))
    cursor.execute(
        "UPDATE audit_log_leaves SET positions[%s] = positions[%s], positions[%s] = positions[%s] "
        "WHERE number = 0",
        [a, b, b, a],
    )


def change_a_checkpoint(cursor, chance):
    number = chance.randint(1, 5)
    note = value("SELECT note FROM audit_checkpoints WHERE number = %s", number)
    at = chance.choice([i for i, c in enumerate(note[:-6]) if c.isalnum()])
    changed = note[:at] + ("A" if note[at] != "A" else "B") + note[at + 1 :]
    cursor.execute("UPDATE audit_checkpoints SET note = %s WHERE number = %s", [changed, number])


def delete_a_checkpoint(cursor, chance):
    cursor.execute("DELETE FROM audit_checkpoints WHERE number = %s", [chance.randint(1, 5)])


MUTATIONS = (
    change_an_entry,
    delete_an_event,
    delete_the_last,
    swap_two,
    move_an_event,
    forge_an_event,
    change_a_tile,
    shorten_the_log,
    swap_two_leaves,
    change_a_checkpoint,
    delete_a_checkpoint,
)


def test_random_mutations():
    chance = random.Random(ATTEMPTS)  # to be repeated
    for attempt in range(ATTEMPTS):
        mutate = MUTATIONS[attempt % len(MUTATIONS)]
        with undone() as cursor:
            mutate(cursor, chance)
            assert findings(), f"{mutate.__name__}, attempt {attempt}"
