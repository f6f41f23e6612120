"""Witnesses of the tests' own, on real sockets, and aics-witness where it can be installed."""

import subprocess
import sys
import threading
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.exceptions import ImproperlyConfigured

from audit_app.models import Checkpoint, Cosignature
from audit_app.proof import keys
from audit_app.proof.keys import SigningKey
from audit_app.proof.merkle import verify_consistency
from audit_app.proof.notes import (
    COSIGNATURE_V1,
    VerifierKey,
    cosign_note,
    parse_note,
    verify_cosignature,
    verify_note,
)
from audit_app.proof.verification import LogVerification
from audit_app.proof.witnesses import (
    collect_cosignatures,
    cosigned_note,
    load_policy,
    newest_trusted_checkpoint,
)
from audit_app.trail.verification import Verification
from tests.audit.test_sealing import seal_all, write_events
from tests.awaiting import until
from tests.database import without_guards
from tests.factories import AgentFactory, TaskFactory, approve_task
from tests.serving import free_port

NAME = "witness.example/w1"


class Witness(BaseHTTPRequestHandler):
    """As much of c2sp.org/tlog-witness as one log needs, with faults on demand."""

    def do_POST(self):
        state = self.server.state
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        state["requests"].append(body)
        head, _, note = body.partition("\n\n")
        old, *proof = head.splitlines()
        text = parse_note(note).text
        origin, size, root = text.splitlines()[:3]
        known, known_root = state["logs"].get(origin, (0, b""))
        if state["fault"]:
            self._answer(*state["fault"])
        elif int(old.removeprefix("old ")) != known:
            self._answer(409, f"{known}\n", "text/x.tlog.size")
        elif not verify_note(note, origin, keys.verifying_keys()):
            self._answer(403, "no key\n")
        elif known and not verify_consistency(
            known, int(size), known_root, b64decode(root), [b64decode(each) for each in proof]
        ):
            self._answer(422, "no proof\n")
        else:
            state["logs"][origin] = int(size), b64decode(root)
            self._answer(200, f"{cosign_note(note, NAME, state['key'], at=1_790_000_000)}\n")

    def _answer(self, status, text, kind="text/plain"):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def witness(settings):
    """A running witness; its ``state``, which a test may change, and its ``key``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Witness)
    key = SigningKey(Ed25519PrivateKey.generate())
    server.state = {"logs": {}, "requests": [], "fault": None, "key": key}
    verifier = VerifierKey(NAME, key.public_bytes, COSIGNATURE_V1)
    url = f"http://127.0.0.1:{server.server_port}"
    settings.AUDIT_WITNESS_POLICY = f"witness w {verifier} {url}\nquorum w\n"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.verifier = verifier
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def seal(count=3):
    write_events(count)
    seal_all()
    return Checkpoint.objects.order_by("number").last()


def is_cosigned(checkpoint, server):
    return verify_cosignature(parse_note(cosigned_note(checkpoint)), server.verifier) is not None


def test_the_newest_checkpoint_is_cosigned_once(witness, api):
    checkpoint = seal()
    assert newest_trusted_checkpoint() is None
    assert collect_cosignatures() == 1
    assert is_cosigned(checkpoint, witness)
    assert newest_trusted_checkpoint() == checkpoint
    assert collect_cosignatures() == 0
    assert len(witness.state["requests"]) == 1
    note = cosigned_note(checkpoint)
    assert verify_note(note, checkpoint.epoch.origin, keys.verifying_keys())


def test_each_request_proves_that_the_log_only_grew(witness):
    for count in (3, 5, 300):
        checkpoint = seal(count)
        assert collect_cosignatures() == 1
    assert witness.state["logs"][checkpoint.epoch.origin][0] == checkpoint.size
    assert [body.partition("\n")[0] for body in witness.state["requests"]] == [
        "old 0",
        f"old {checkpoint.size - 305}",
        f"old {checkpoint.size - 300}",
    ]


def test_a_witness_that_knows_more_than_we_remember_says_so(witness):
    """A lost answer: it cosigned, and we don't know."""
    seal()
    collect_cosignatures()
    forget_cosignatures()
    checkpoint = seal()
    assert collect_cosignatures() == 1
    assert [body.partition("\n")[0] for body in witness.state["requests"][1:]] == [
        "old 0",
        f"old {checkpoint.size - 3}",
    ]


def forget_cosignatures():
    with without_guards() as cursor:
        cursor.execute("DELETE FROM audit_cosignatures")


def test_a_witness_that_saw_a_longer_log_is_not_asked_again(witness):
    """That is a rollback on our side: it must not be talked out of what it saw."""
    checkpoint = seal()
    witness.state["logs"][checkpoint.epoch.origin] = checkpoint.size + 7, bytes(32)
    assert collect_cosignatures() == 0
    assert len(witness.state["requests"]) == 1
    assert not Cosignature.objects.exists()


@pytest.mark.parametrize(
    "fault",
    [
        (200, "nonsense"),
        (200, ""),
        (200, f"— {NAME} AAAAAAAA\n"),
        (403, "who are you?\n"),
        (404, "unknown log\n"),
        (409, "a lot\n"),
        (409, ""),
        (409, "9" * 5_000),
        (422, "no\n"),
        (500, "oh\n"),
        (302, ""),
    ],
)
def test_what_is_no_cosignature_is_not_kept_and_asked_for_again(witness, fault):
    checkpoint = seal()
    witness.state["fault"] = fault
    assert collect_cosignatures() == 0
    assert not Cosignature.objects.exists()
    witness.state["fault"] = None
    assert collect_cosignatures() == 1
    assert is_cosigned(checkpoint, witness)


def test_anothers_key_does_not_count(witness):
    seal()
    witness.state["key"] = SigningKey(Ed25519PrivateKey.generate())
    assert collect_cosignatures() == 0
    assert not Cosignature.objects.exists()


def test_a_witness_that_is_away_holds_up_nobody(witness, settings):
    settings.AUDIT_WITNESS_POLICY = settings.AUDIT_WITNESS_POLICY.replace(
        str(witness.server_port), str(free_port())
    )
    checkpoint = seal()
    assert collect_cosignatures() == 0
    assert checkpoint.size >= 3


@pytest.mark.parametrize("statement", ["line = '— x AAAAAAAA'", "line = replace(line, 'A', 'B')"])
def test_a_changed_cosignature_is_found(witness, statement):
    seal()
    collect_cosignatures()
    assert find_tampering() == []
    with without_guards() as cursor:
        cursor.execute(f"UPDATE audit_cosignatures SET {statement}")
    assert find_tampering() == [("changed", f"{NAME} did not cosign it so")]


def find_tampering():
    verification = Verification()
    LogVerification(verification).verify(print)
    return [(each.what, each.reason) for each in verification.findings]


@pytest.mark.parametrize(
    ("policy", "reason"),
    [("/nowhere/policy", "No such file"), ("quorum w\n", "Line 1: There is no witness")],
)
def test_a_wrong_setting_is_one_sentence(settings, policy, reason):
    settings.AUDIT_WITNESS_POLICY = policy
    with pytest.raises(ImproperlyConfigured, match=f"^AUDIT_WITNESS_POLICY: {reason}"):
        load_policy()


def test_a_receipt_waits_for_the_quorum(witness, settings, api, alice):
    """Fail closed: sealed is not enough where the operator asks for witnesses."""
    settings.RECEIPTS_SEALED = True
    agent = AgentFactory()
    task = approve_task(TaskFactory(agent=agent), by=alice)
    path = f"/tasks/{task.pk}/receipt"
    seal()
    assert api(agent).get(path).json()["code"] == "not_sealed_yet"
    collect_cosignatures()
    assert api(agent).get(path).status_code == 200


def test_the_served_checkpoint_has_the_witnesss_line(witness, api, settings):
    settings.AUDIT_LOG_READERS = "everyone"
    seal()
    collect_cosignatures()
    note = parse_note(api().get("/audit/log/checkpoint").content.decode())
    assert verify_cosignature(note, witness.verifier) == 1_790_000_000


@pytest.mark.skipif(not find_spec("aics_witness"), reason="aics-witness needs Python 3.12")
def test_a_witness_that_others_wrote_cosigns(tmp_path, settings):
    checkpoint = seal()
    origin, port = checkpoint.epoch.origin, free_port()
    program = [sys.executable, "-m", "aics_witness"]
    run = {"cwd": tmp_path, "check": True, "capture_output": True, "text": True}
    listen = f"127.0.0.1:{port}"
    said = subprocess.run([*program, "init", "--name", NAME, "--listen", listen], **run).stdout
    [verifier] = [word for word in said.split() if word.startswith(f"{NAME}+")]
    vkey = str(keys.signing_keys()[0].verifier_key(origin))
    subprocess.run([*program, "add-log", "--origin", origin, "--vkey", vkey], **run)
    settings.AUDIT_WITNESS_POLICY = f"witness w {verifier} http://{listen}\nquorum w\n"
    with subprocess.Popen([*program, "serve"], cwd=tmp_path, stderr=subprocess.DEVNULL) as served:
        try:
            until(lambda: answers(port))
            assert collect_cosignatures() == 1
            assert newest_trusted_checkpoint() == checkpoint
            forget_cosignatures()
            later = seal(300)
            assert collect_cosignatures() == 1
            assert newest_trusted_checkpoint() == later
        finally:
            served.terminate()


def answers(port):
    try:
        return bool(httpx.get(f"http://127.0.0.1:{port}/", timeout=1).status_code)
    except httpx.TransportError:
        return False
