"""Several web processes are one server: they share who comes, hear of what any of them did, and
count together."""

import os
import re
import select
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from approvals_app.decisions import operations
from audit_app.base.actors import Actor
from tests.database import as_superuser
from tests.factories import TaskFactory, the_approval
from tests.faults.killing import children
from tests.live.conftest import serving

PATIENTLY = (
    "GET /approvals/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    "Authorization: Bearer %s\r\nPrefer: wait=60\r\n\r\n"
)
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


def both_accept(server):
    """Return once they do."""
    with connections_to_both(server):
        pass


@contextmanager
def connections_to_both(server):
    """How many connections were opened until both processes had some; each was answered, and all
    are kept open. The system says who takes one."""
    with ExitStack() as kept:
        opened = 0
        while not opened or not both_hold(server):
            opened += 1
            caller = kept.enter_context(server.connection())
            caller.sendall(STATUS)
            assert caller.recv(65_536).startswith(b"HTTP/1.1 200")
        yield opened


def both_hold(server):
    held = shares(server)
    return len(held) == 2 and all(held)


def shares(server):
    """How many connections each process holds."""
    theirs = {
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines())
        if fields[1].endswith(f":{server.port:04X}") and fields[3] != LISTENS
    }
    return [
        sum(_inode(file) in theirs for file in _open_files(pid))
        for pid in children(server.process.pid)
    ]


def _open_files(pid):
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        return []  # the process has ended


def _inode(file):
    try:
        return os.readlink(file).removeprefix("socket:[").removesuffix("]")
    except FileNotFoundError:
        return None  # closed meanwhile


def test_a_decision_is_heard_of_in_each(server, alice, bot):
    approval = the_approval(TaskFactory(agent=bot))
    waits = PATIENTLY % (approval.pk, bot.key)
    before = shares(server)
    with ExitStack() as kept:
        waiters = []
        while not all(now > then for now, then in zip(shares(server), before, strict=True)):
            waiters.append(kept.enter_context(server.connection()))
            waiters[-1].sendall(waits.encode())
            server.holds(len(waiters))
        operations.approve(
            approval.pk, by=Actor.human(alice), payload_digest=approval.payload_digest
        )
        for waiter in waiters:
            assert b'"status":"approved"' in waiter.recv(65_536)


def test_each_counts_for_all(server):
    def calls():
        return float(CALLS.search(server.admin.get("/metrics").text)[1])

    before = calls()
    with connections_to_both(server) as opened:
        assert calls() == before + opened


def test_each_process_caches_key_lookups(server, bot):
    def is_key_cached():
        """Whether a request is answered while no key can be looked up."""
        with server.as_agent(bot) as client, as_superuser() as admin:
            assert client.get("/sessions").status_code == 200
            admin.execute("LOCK TABLE agent_keys IN ACCESS EXCLUSIVE MODE")
            return client.get("/sessions").status_code == 200

    assert any(is_key_cached() for _ in range(ROUNDS))  # who creates an agent changes it, too


def kill_and_await_end(pid):
    # Until it has ended, the victim's connections look as if it served.
    process = os.pidfd_open(pid)
    signal.pidfd_send_signal(process, signal.SIGKILL)
    select.select([process], [], [])
    os.close(process)


def test_one_that_is_killed_is_replaced_and_the_other_serves(server):
    with connections_to_both(server):
        victim, _ = children(server.process.pid)
        kill_and_await_end(victim)
        both_accept(server)
    assert victim not in children(server.process.pid)


def test_answers_name_no_server_software(server):
    assert server.admin.get("/status").headers.get_list("Server") == ["orchestrator"]


def test_what_they_counted_goes_with_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving(tmp_path, WEB_CONCURRENCY="2"):
        assert list(tmp_path.glob(COUNTS))
    assert not list(tmp_path.glob(COUNTS))
