"""Several web processes are one server: they share who comes, hear of what any of them did, and
count together."""

import os
import re
import signal
import socket
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from approvals_app import operations
from audit_app.actors import Actor
from tests.database import as_superuser
from tests.factories import TaskFactory, policy, the_approval
from tests.faults.killing import children
from tests.waiting.conftest import serving

PATIENTLY = {"Prefer": "wait=60"}
STATUS = b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
CALLS = re.compile(r'^orchestrator_request_seconds_count\{.*"status".*\} ([0-9.]+)$', re.MULTILINE)
COUNTS = "orchestrator-metrics-*"
LISTENS = "0A"
ROUNDS = 10


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Of two processes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving(tmp_path, WEB_CONCURRENCY="2") as server:
        both_accept(server)
        yield server


@pytest.fixture
def two_cores():
    """All that we may use, for as long as a test runs."""
    ours = os.sched_getaffinity(0)
    if len(ours) < 2:
        pytest.skip("there is one core")
    two = sorted(ours)[:2]
    os.sched_setaffinity(0, two)
    yield two
    os.sched_setaffinity(0, ours)


def both_accept(server):
    """Return once they do."""
    begun = False
    while not begun:
        with connections(server, 8):
            begun = len(held := shares(server)) == 2 and all(held)


@contextmanager
def connections(server, number):
    """That many connections that are kept open, each of which was answered."""
    with ExitStack() as kept:
        callers = [
            kept.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            for _ in range(number)
        ]
        for caller in callers:
            caller.sendall(STATUS)
        for caller in callers:
            assert caller.recv(65_536).startswith(b"HTTP/1.1 200")
        yield callers


def shares(server):
    """How many connections each process holds."""
    theirs = {
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines())
        if fields[1].endswith(f":{server.port:04X}") and fields[3] != LISTENS
    }
    return [
        sum(_inode(file) in theirs for file in Path(f"/proc/{pid}/fd").iterdir())
        for pid in children(server.process.pid)
    ]


def _inode(file):
    try:
        return os.readlink(file).removeprefix("socket:[").removesuffix("]")
    except FileNotFoundError:
        return None  # closed meanwhile


def test_a_handful_of_connections_is_shared(server):
    server.admin.close()
    even = 0
    for _ in range(ROUNDS):
        with connections(server, 4):
            even += shares(server) == [2, 2]
        while any(shares(server)):
            pass
    # One of them may be busy for longer than the other leaves it a connection.
    assert even >= ROUNDS - 2


def test_a_decision_is_heard_of_in_each(server, aside, alice, bot):
    approval = the_approval(TaskFactory(agent=bot))
    with ExitStack() as clients:
        waits = [
            aside(
                clients.enter_context(server.as_agent(bot)).get,
                f"/approvals/{approval.pk}",
                headers=PATIENTLY,
            )
            for _ in range(8)
        ]
        server.holds(8)
        assert all(shares(server))
        operations.approve(
            approval.pk, by=Actor.human(alice), payload_digest=approval.payload_digest
        )
        assert {wait.result(30).json()["status"] for wait in waits} == {"approved"}


def test_each_counts_for_all(server):
    def calls():
        return float(CALLS.search(server.admin.get("/metrics").text)[1])

    before = calls()
    with connections(server, 8):
        assert all(shares(server))
        assert calls() == before + 8


def test_each_remembers_whose_a_key_is(server, bot):
    def known():
        """Whether a request is answered while no key can be looked up."""
        with server.as_agent(bot) as client, as_superuser() as admin:
            assert client.get("/sessions").status_code == 200
            admin.execute("LOCK TABLE agent_keys IN ACCESS EXCLUSIVE MODE")
            return client.get("/sessions").status_code == 200

    assert any(known() for _ in range(ROUNDS))  # who creates an agent changes it, too


def test_one_that_is_killed_is_replaced_and_the_other_serves(server):
    with connections(server, 8):
        victim, _ = children(server.process.pid)
        os.kill(victim, signal.SIGKILL)
        with connections(server, 8):  # each of which is answered
            pass
    both_accept(server)
    assert victim not in children(server.process.pid)


def test_each_stays_on_a_core_of_its_own(tmp_path, two_cores):
    def cores():
        return [os.sched_getaffinity(pid) for pid in children(server.process.pid)]

    def both_have_one():
        return sorted(map(sorted, cores())) == [[core] for core in two_cores]

    with serving(tmp_path, WEB_CONCURRENCY="2") as server:
        both_accept(server)
        assert both_have_one()
        os.kill(children(server.process.pid)[0], signal.SIGKILL)
        both_accept(server)
        assert both_have_one()


def test_what_evaluates_conditions_has_all_cores(tmp_path, two_cores, bot):
    policy("loops", when={"condition": "data.lines.exists(l, l > 1)"}, asks="1 finance")
    asked = {"target": "finance", "task": {"task_type": "refund", "data": {"lines": [1, 2]}}}
    with serving(tmp_path, WEB_CONCURRENCY="2") as server, server.as_agent(bot) as client:
        answer = client.post("/tasks/route", json=asked, headers={"Idempotency-Key": "k"})
        assert answer.json()["status"] == "awaiting_approval"
        [evaluator] = [child for pid in children(server.process.pid) for child in children(pid)]
        assert os.sched_getaffinity(evaluator) == set(two_cores)


@pytest.mark.parametrize(
    "told",
    [{"WEB_CONCURRENCY": "1"}, {"WEB_CONCURRENCY": "2", "WEB_AFFINITY": "off"}],
    ids=["fewer than there are cores", "told not to"],
)
def test_others_go_where_there_is_room(tmp_path, two_cores, told):
    with serving(tmp_path, **told) as server:
        for process in children(server.process.pid):
            assert os.sched_getaffinity(process) == set(two_cores)


def test_what_they_counted_goes_with_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving(tmp_path, WEB_CONCURRENCY="2"):
        assert list(tmp_path.glob(COUNTS))
    assert not list(tmp_path.glob(COUNTS))
