"""The log as C2SP's tlog-tiles serves it, and proofs as tlog-proof files."""

from base64 import b64decode
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission

from audit_app.models import Checkpoint, Event
from audit_app.proof.merkle import HASH_SIZE, leaf_hash, root_of_leaves, verify_inclusion
from audit_app.proof.views import Place, PlaceConverter
from tests.audit.test_sealing import leaves, seal_all, write_events
from tests.client import Api
from tests.factories import AgentFactory, ReviewerFactory, TaskFactory


@pytest.fixture
def auditor():
    user = ReviewerFactory(username="olga")
    user.user_permissions.add(Permission.objects.get(codename="read_everything"))
    return user


def test_a_monitor_rebuilds_the_tree(api, auditor, settings):
    settings.AUDIT_LOG_ORIGIN = "orchestrator.example/audit/log"
    write_events(300)
    seal_all()
    get = api(user=auditor).get
    answer = get("/audit/log/checkpoint")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    origin, size, root = answer.content.decode().splitlines()[:3]
    assert (origin, size) == ("orchestrator.example/audit/log", "300")

    full, partial = get("/audit/log/tile/0/000"), get("/audit/log/tile/0/001.p/44")
    assert full.headers["Content-Type"] == "application/octet-stream"
    assert "immutable" in full.headers["Cache-Control"]
    hashes = split(full.content + partial.content)
    assert hashes == leaves()
    assert root_of_leaves(hashes) == b64decode(root)
    assert get("/audit/log/tile/1/000.p/1").content == root_of_leaves(hashes[:256])

    entries = [*read_bundle(get("/audit/log/tile/entries/000").content)]
    entries += read_bundle(get("/audit/log/tile/entries/001.p/44").content)
    assert [leaf_hash(entry) for entry in entries] == hashes


def split(data):
    return [data[i : i + HASH_SIZE] for i in range(0, len(data), HASH_SIZE)]


def read_bundle(data):
    while data:
        length = int.from_bytes(data[:2], "big")
        yield data[2 : 2 + length]
        data = data[2 + length :]


def test_a_partial_tile_stays_while_the_tree_grows(api, auditor):
    write_events(3)
    seal_all()
    early = api(user=auditor).get("/audit/log/tile/0/000.p/3").content
    write_events(300)
    seal_all()
    assert api(user=auditor).get("/audit/log/tile/0/000.p/3").content == early


@pytest.mark.parametrize(
    "path",
    [
        "0/000",  # not full
        "0/000.p/4",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/03",
        "0/001.p/1",
        "1/000.p/1",
        "0/0",
        "0/x000/000.p/3",
        "00/000.p/3",
        "64/000.p/3",
        "0/x999/x999/x999/x999/x999/x999/x999/999.p/3",
        "entries/000.p/4",
        "entries/000",
        "data/000.p/3",
    ],
)
def test_what_is_not_there(api, auditor, path):
    write_events(3)
    seal_all()
    assert api(user=auditor).get(f"/audit/log/tile/{path}").status_code == 404


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (Place(0, 256), "000"),
        (Place(999, 256), "999"),
        (Place(1000, 7), "x001/000.p/7"),
        (Place(1_234_067, 256), "x001/x234/067"),  # tlog-tiles' own example
    ],
)
def test_paths(place, path):
    assert PlaceConverter().to_url(place) == path
    assert PlaceConverter().to_python(path) == place


PATHS = ("/audit/log/checkpoint", "/audit/log/tile/0/000.p/3", "/audit/log/tile/entries/000.p/3")


@pytest.mark.parametrize(
    ("readers", "nobody", "agent", "auditor_"),
    [
        ("everyone", [200, 200, 401], [200, 200, 403], [200, 200, 200]),
        ("token", [401, 401, 401], [200, 200, 403], [200, 200, 200]),
        ("auditors", [401, 401, 401], [403, 403, 403], [200, 200, 200]),
    ],
)
def test_who_may_read(settings, bot, auditor, readers, nobody, agent, auditor_):
    settings.AUDIT_LOG_READERS = readers
    write_events(3)
    seal_all()
    callers = (Api(), nobody), (Api(bot), agent), (Api(user=auditor), auditor_)
    for caller, statuses in callers:
        assert [caller.get(path).status_code for path in PATHS] == statuses
    shared = "public" if readers == "everyone" else "private"
    cached = [Api(user=auditor).get(path).headers["Cache-Control"] for path in PATHS[1:]]
    assert [value.split(",")[0] for value in cached] == [shared, "private"]


def test_no_checkpoint_yet(api, auditor):
    answer = api(user=auditor).get("/audit/log/checkpoint")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_proof_of_an_event(api, bot):
    task = TaskFactory(agent=bot)
    seal_all()
    event = Event.objects.get(subject_id=task.pk, seq=1)
    answer = api(bot).get(f"/audit/events/{event.pk}/proof")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"].endswith('.tlog-proof"')

    head, note = answer.content.decode().split("\n\n", 1)
    first, index, *hashes = head.splitlines()
    assert first == "c2sp.org/tlog-proof@v1"
    checkpoint = Checkpoint.objects.get()
    assert note == checkpoint.note
    _, size, root = note.splitlines()[:3]
    assert verify_inclusion(
        leaf_hash(event.entry.encode()),
        int(index.removeprefix("index ")),
        int(size),
        [b64decode(line) for line in hashes],
        b64decode(root),
    )


def test_a_log_of_one_event_needs_no_hashes(api, auditor):
    write_events(1)
    seal_all()
    event = Event.objects.get()
    text = api(user=auditor).get(f"/audit/events/{event.pk}/proof").content.decode()
    assert text == f"c2sp.org/tlog-proof@v1\nindex 0\n\n{Checkpoint.objects.get().note}"


def test_an_event_that_is_not_sealed_yet(api, bot):
    task = TaskFactory(agent=bot)
    event = Event.objects.get(subject_id=task.pk, seq=1)
    answer = api(bot).get(f"/audit/events/{event.pk}/proof")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_sealed_yet")
    assert answer.headers["Retry-After"] == "1"


def test_nobody_proves_what_they_may_not_see(api, bot):
    task = TaskFactory(agent=bot)
    seal_all()
    event = Event.objects.get(subject_id=task.pk, seq=1)
    stranger = api(AgentFactory(name="stranger"))
    answers = [stranger.get(f"/audit/events/{pk}/proof") for pk in (event.pk, uuid4())]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]
