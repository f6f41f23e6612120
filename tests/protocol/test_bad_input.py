"""Bad input of every kind is refused by a 4xx that names the field, and leaves nothing behind.

The world is one for all tests: nothing that is refused may change it, and each test looks.
"""

import http.client
import io
import json
import socket
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection

from audit_app.models import Event
from orchestrator.web.filters import MAX_PARAMETERS
from orchestrator.web.parsing import MAX_DEPTH, MAX_ITEMS
from sessions_app.tasks import operations as task_operations
from tests.client import Api, schema
from tests.database import empty
from tests.factories import (
    AgentFactory,
    ReviewerFactory,
    SessionFactory,
    TaskFactory,
    approve_task,
    the_approval,
)
from tests.protocol.test_problems import problem
from tests.serving import free_port, gunicorn, on_the_tests_database

COUNTED = ("agents", "sessions", "tasks", "approvals", "audit_events", "request_receipts")
LONGEST_ROLE = "r" * 150
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module", autouse=True)
def database(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        yield
        empty()


class World:
    """bot asks, payer executes, alice decides; each has something that a request can name."""

    def __init__(self):
        self.bot = AgentFactory(name="bot", roles=["support-agent", LONGEST_ROLE])
        self.payer = AgentFactory(name="payer", roles=["finance"])
        self.alice = ReviewerFactory(username="alice", roles=["finance"])
        self.callers = {
            "bot": Api(self.bot),
            "payer": Api(self.payer),
            "alice": Api(user=self.alice),
            "nobody": Api(),
        }
        self.theirs = SessionFactory(agent=self.payer)
        self.renew()

    def renew(self):
        """New things for requests that are accepted."""
        self.session = SessionFactory(agent=self.bot)
        self.waiting = TaskFactory(agent=self.bot)
        self.approval = the_approval(self.waiting)
        self.free = approve_task(TaskFactory(agent=self.bot), self.alice)
        self.claimed = approve_task(TaskFactory(agent=self.bot), self.alice)
        task_operations.claim(self.claimed.pk, by=self.payer.as_actor(), lease=timedelta(hours=1))

    def send(self, write, body, headers=None):
        path = write.path.replace("{id}", str(getattr(self, write.of).pk) if write.of else "")
        sent = {"Idempotency-Key": "k"} | (headers or {})
        return self.callers[write.by].send(write.method, path, body, headers=sent)


@pytest.fixture(scope="module")
def world(database):
    return World()


def whole():
    """How many rows there are, and how often any of them was changed."""
    tables = ", ".join(f"(SELECT count(*) FROM {table})" for table in COUNTED)
    versions = ", ".join(f"(SELECT sum(version) FROM {table})" for table in COUNTED[:4])
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {tables}, {versions}")
        return cursor.fetchone()


@pytest.fixture
def expect_refusal(world):
    """``expect_refusal(answer, field)``: the answer names the field, and nothing is left behind."""
    before = whole()

    def check(answer, field, status=400, code=None):
        said = problem(answer, status, code)
        assert field in [error["field"] for error in said["errors"]], said
        assert whole() == before
        return said

    return check


@dataclass(frozen=True)
class Write:
    """A request that is accepted, all of its fields given, and who may send it."""

    method: str
    path: str
    by: str
    of: str
    body: dict
    free: str = ""  # the field that takes any JSON

    def __str__(self):
        return f"{self.method} {self.path}"

    def get_body_schema(self):
        operation = schema()["paths"][self.path][self.method.lower()]
        return operation["requestBody"]["content"]["application/json"]["schema"]


DECISION = {"payload_digest": "0" * 64, "notes": ""}
TASK = {"task_type": "refund", "description": "Pay.", "data": {}}
WRITES = (
    Write(
        "POST",
        "/sessions",
        "bot",
        "",
        {"agent_role": "support-agent", "task_id": "7", "metadata": {}},
        "metadata",
    ),
    Write(
        "PUT",
        "/sessions/{id}",
        "bot",
        "session",
        {"task_id": "7", "status": "active", "metadata": {}},
        "metadata",
    ),
    Write(
        "POST",
        "/tasks/route",
        "bot",
        "",
        {"target": "finance", "task": TASK, "context": {}, "on_behalf_of": "carol"},
        "task.data",
    ),
    Write("POST", "/tasks/{id}/claim", "payer", "free", {"lease_seconds": 60}),
    Write("POST", "/tasks/{id}/complete", "payer", "claimed", {"result": {}}, "result"),
    Write("POST", "/tasks/{id}/fail", "payer", "claimed", {"error": {}}, "error"),
    Write("POST", "/tasks/{id}/cancel", "bot", "waiting", {"reason": "Mistaken."}),
    Write(
        "POST",
        "/approvals",
        "bot",
        "",
        {"task_id": NOBODY, "approver_role": "sre", "reason": "Ask."},
    ),
    Write(
        "POST", "/approvals/{id}/approve", "alice", "approval", DECISION | {"answer": {}}, "answer"
    ),
    Write("POST", "/approvals/{id}/reject", "alice", "approval", DECISION),
    Write(
        "POST",
        "/tasks/{id}/revise",
        "bot",
        "waiting",
        {"description": "Pay less.", "data": {}, "context": {}},
        "data",
    ),
    Write(
        "POST",
        "/approvals/{id}/request_changes",
        "alice",
        "approval",
        {"payload_digest": "0" * 64, "message": "Less."},
    ),
    Write("POST", "/approvals/{id}/withdraw_vote", "alice", "approval", {"reason": "No."}),
    Write(
        "POST",
        "/approvals/{id}/edit",
        "alice",
        "approval",
        DECISION | {"description": "Pay less.", "data": {}, "context": {}},
        "data",
    ),
    Write(
        "POST",
        "/approvals/{id}/delegate",
        "alice",
        "approval",
        {"to": "bob", "reason": "Away."},
    ),
    Write(
        "POST",
        "/approvals/{id}/break_glass",
        "alice",
        "approval",
        {"payload_digest": "0" * 64, "reason": "Fire."},
    ),
    Write(
        "POST",
        "/approvals/{id}/recall",
        "alice",
        "approval",
        {"reason": "The wrong customer.", "then": "cancel"},
    ),
    Write(
        "POST",
        "/approvals/bulk",
        "alice",
        "",
        {"decisions": [DECISION | {"approval_id": NOBODY, "decision": "approve"}]},
    ),
    Write("POST", "/tasks/{id}/extend", "payer", "claimed", {"lease_seconds": 60}),
    Write(
        "POST",
        "/tasks/{id}/erase",
        "alice",
        "free",
        {"reason": "The customer asked.", "keep_result": False},
    ),
    Write(
        "POST",
        "/tasks/route:batch",
        "bot",
        "",
        {"tasks": [{"idempotency_key": "k", "target": "finance", "task": TASK}]},
    ),
    Write(
        "POST",
        "/audit/events",
        "bot",
        "",
        {"event_type": "agent.noted", "metadata": {}},
        "metadata",
    ),
)
ACCEPTED_WITH = {"/approvals/{id}/approve": {"answer": None}}
ACCEPTABLE = {
    "/approvals/{id}/withdraw_vote": "no_vote",
    "/approvals/{id}/delegate": "unknown_person",
    "/approvals/{id}/break_glass": "no_right_to_override",
    "/approvals/{id}/recall": "invalid_transition",
    "/tasks/{id}/erase": "no_right_to_erase",
}
"""What else a request that is well formed may be told here."""

OPEN, UPDATE, ROUTE, CLAIM, COMPLETE = WRITES[:5]
ASK, APPROVE = WRITES[7:9]
KINDS_OF_WRITE = (OPEN, UPDATE, CLAIM, APPROVE)


def test_the_table_tells_of_every_write():
    published = {
        (method.upper(), path)
        for path, methods in schema()["paths"].items()
        for method in methods
        if method != "get"
    }
    assert {(write.method, write.path) for write in WRITES} == published


def put_at(body, path, value):
    """``body`` with ``value`` at the dotted ``path``."""
    name, _, rest = path.partition(".")
    return {**body, name: put_at(body.get(name, {}), rest, value) if rest else value}


def resolve_schema(described):
    for inner in (described, *described.get("allOf", ())):
        if "$ref" in inner:
            return schema()["components"]["schemas"][inner["$ref"].rpartition("/")[2]]
    return described


def fields(described, path=""):
    """Every field of a request body, those of objects that we define included."""
    for name, inner in resolve_schema(described).get("properties", {}).items():
        inner, here = resolve_schema(inner), f"{path}{name}"
        yield here, inner
        yield from fields(inner, f"{here}.")


EVERY_FIELD = [
    (write, name, kind) for write in WRITES for name, kind in fields(write.get_body_schema())
]
VALUES = {
    "null": None,
    "boolean": True,
    "integer": 7,
    "number": 7.5,
    "string": "seven",
    "array": ["seven"],
    "object": {"seven": 7},
}


# What is not JSON, or not one JSON object


NOT_AN_OBJECT = {
    "nothing but a brace": b"{",
    "cut short": b'{"a": "b',
    "cut short after a name": b'{"a":',
    "single quotes": b"{'a': 1}",
    "a comment": b'{"a": 1} // so',
    "a trailing comma": b'{"a": 1,}',
    "trailing garbage": b'{"a": 1} x',
    "two objects": b"{}{}",
    "blanks": b"  \n",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "invalid UTF-8": b'{"a": "\xff"}',
    "a surrogate as UTF-8": b'{"a": "\xed\xa0\x80"}',
    "an overlong slash": b'{"a": "\xc0\xaf"}',
    "a raw NUL": b'{"a": "\x00"}',
    "a NUL behind": b"{}\x00",
    "a raw line break in a text": b'{"a": "\n"}',
    "an array": b"[]",
    "a text": b'"text"',
    "a number": b"7",
    "true": b"true",
    "null": b"null",
    "NaN": b"NaN",
    "a form": b"agent_role=support-agent",
    "an object 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "an array 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "half a million elements": b"[" + b"1," * 500_000 + b"1]",
    "a text that never ends": b'{"a": "' + b'\\"' * 500_000,
    "a hundred thousand names": b"{" + b",".join(b'"%d":1' % n for n in range(99_999)) + b"}",
}


def test_what_is_not_one_json_object(world, expect_refusal, subtests):
    for write, (name, body) in product(KINDS_OF_WRITE, NOT_AN_OBJECT.items()):
        with subtests.test(f"{write} {name}"):
            expect_refusal(world.send(write, body), "body")


# What another reader of JSON would read otherwise

IN_ONE_VALUE = {
    "a name twice": ('{"a": 1, "a": 2}', "duplicate_name", ".a"),
    "a name twice, nested": ('[{"b": {"a": 1, "x": 0, "a": 1}}]', "duplicate_name", "[0].b.a"),
    "a name twice once unescaped": (r'{"a": 1, "\u0061": 2}', "duplicate_name", ".a"),
    "an empty name twice": ('{"": 1, "": 2}', "duplicate_name", "."),
    "NaN": ("NaN", "malformed_json", ""),
    "Infinity": ("[Infinity]", "malformed_json", "[0]"),
    "-Infinity": ('{"a": -Infinity}', "malformed_json", ".a"),
    "2^53": ("9007199254740992", "inexact_number", ""),
    "-2^53": ("[0, -9007199254740992]", "inexact_number", "[1]"),
    "2^53 as a float": ("9007199254740992.0", "inexact_number", ""),
    "2^64": ('{"a": 18446744073709551616}', "inexact_number", ".a"),
    "5,000 digits": ("1" * 5_000, "inexact_number", ""),
    "half a million digits": ("1" * 500_000, "inexact_number", ""),
    "1e400": ("1e400", "inexact_number", ""),
    "-1e400": ("-1e400", "inexact_number", ""),
    "1E-400": ('{"a": [1E-400]}', "inexact_number", ".a[0]"),
    "an exponent of twenty digits": ("1e-99999999999999999999", "inexact_number", ""),
    "zero with an exponent of twenty digits": ("0e99999999999999999999", "inexact_number", ""),
    "0.1 and long decimals": ("0.1000000000000000000000001", "inexact_number", ""),
    "5,000 decimals": ("0." + "1" * 5_000, "inexact_number", ""),
    "a lone surrogate": (r'"\ud800"', "lone_surrogate", ""),
    "a pair in the wrong order": (r'{"a": ["x\udc00\ud800"]}', "lone_surrogate", ".a[0]"),
    "a lone surrogate as a name": (r'{"\ud83d": 1}', "lone_surrogate", r".\ud83d"),
    "NUL": (r'"a\u0000b"', "nul_character", ""),
    "NUL in an array": (r'[{"a": "\u0000"}]', "nul_character", "[0].a"),
    "NUL in a name": (r'{"a\u0000": 1}', "nul_character", r".a\u0000"),
    "33 deep": ("[" * MAX_DEPTH + "]" * MAX_DEPTH, "too_deep", "[0]" * 5),
}


@pytest.mark.parametrize("write", [w for w in WRITES if w.free], ids=str)
def test_a_value_that_another_reader_would_read_otherwise(world, expect_refusal, subtests, write):
    for name, (text, code, where) in IN_ONE_VALUE.items():
        with subtests.test(name):
            body = json.dumps(put_at(write.body, write.free, "HERE")).replace('"HERE"', text)
            said = expect_refusal_somewhere(expect_refusal, world.send(write, body.encode()), code)
            assert said.startswith(f"{write.free}{where}")


def expect_refusal_somewhere(expect_refusal, answer, code):
    field = answer.json()["errors"][0]["field"]
    expect_refusal(answer, field, code=code)
    return field


def test_a_name_twice_on_top(world, expect_refusal):
    body = b'{"agent_role": "support-agent", "agent_role": "support-agent"}'
    expect_refusal(world.send(OPEN, body), "agent_role", code="duplicate_name")


@pytest.mark.parametrize(
    "data",
    [
        {"all": [1] * MAX_ITEMS},
        {"all": [[]] * (MAX_ITEMS - 2)},
        {str(n): n for n in range(MAX_ITEMS)},
        {"all": [{"a": 1, "b": 2}] * (MAX_ITEMS // 3)},
        {"all": [[[[[1]]]]] * (MAX_ITEMS // 5)},
    ],
    ids=["elements", "empty elements", "names", "objects", "nested"],
)
def test_more_values_than_a_body_may_hold(world, expect_refusal, data):
    body = put_at(ROUTE.body, "task.data", data)
    expect_refusal(world.send(ROUTE, body), "body", code="too_many_values")


def test_as_many_values_as_a_body_may_hold_are_accepted(world):
    text = ',"' * 3 * MAX_ITEMS  # no comma of a text counts
    data = {"text": text, "all": [1] * (MAX_ITEMS - 9)}
    answer = world.send(ROUTE, put_at(ROUTE.body, "task.data", data), {"Idempotency-Key": "many"})
    assert answer.status_code == 202, answer.content
    task = world.callers["bot"].get(f"/tasks/{answer.json()['task_id']}").json()
    assert task["data"] == data


@pytest.mark.parametrize(
    "text",
    ["9007199254740991", "-9007199254740991", "-0", "0.1", "1e-320", "0.50", "1E+2", "5e-324"],
)
def test_a_number_that_is_held_exactly_comes_back(world, text):
    body = json.dumps(put_at(OPEN.body, "metadata", "HERE")).replace('"HERE"', f'{{"n": {text}}}')
    answer = world.send(OPEN, body.encode(), {"Idempotency-Key": f"n{text}"})
    session = world.callers["bot"].get(answer.headers["Location"]).json()
    assert session["metadata"] == {"n": json.loads(text)}


# Fields


def wrong(kind):
    """The kinds of values that a field described so does not take."""
    named = kind.get("type", [] if "enum" in kind else list(VALUES))
    taken = set([named] if isinstance(named, str) else named) | (
        {"integer"} if named == "number" else set()
    )
    return [name for name in VALUES if name not in taken]


def test_a_value_of_the_wrong_kind(world, expect_refusal, subtests):
    for write, field, kind in EVERY_FIELD:
        for value in wrong(kind):
            with subtests.test(f"{write} {field} {value}"):
                expect_refusal(world.send(write, put_at(write.body, field, VALUES[value])), field)


class TestLengths:
    LONGEST = [
        (write, name, kind["maxLength"])
        for write, name, kind in EVERY_FIELD
        if "maxLength" in kind and name != "payload_digest"
    ]

    def test_one_more_than_its_maximum(self, world, expect_refusal, subtests):
        for write, field, longest in self.LONGEST:
            with subtests.test(f"{write} {field}"):
                text = self.text(field, longest + 1)
                expect_refusal(world.send(write, put_at(write.body, field, text)), field)

    def test_a_megabyte(self, world, expect_refusal, subtests):
        for write, field, _ in self.LONGEST:
            with subtests.test(f"{write} {field}"):
                body = put_at(write.body, field, self.text(field, 1_000_000))
                answer = world.send(write, body)
                expect_refusal(answer, field)
                assert len(answer.content) < 2_000  # nothing of it comes back

    @pytest.mark.parametrize(("write", "field", "longest"), LONGEST, ids=str)
    def test_just_its_maximum(self, world, write, field, longest):
        world.renew()
        body = put_at(write.body, field, self.text(field, longest))
        if "payload_digest" in body:
            body["payload_digest"] = world.approval.payload_digest
        if write is ASK:
            body["task_id"] = str(world.waiting.pk)
        body |= ACCEPTED_WITH.get(write.path, {})
        key = {"Idempotency-Key": f"{write}{field}".replace(" ", "")}
        answer = world.send(write, body, key)
        said = answer.json().get("code", "")
        assert answer.status_code < 300 or said in ACCEPTABLE.get(write.path, ""), answer.content

    def text(self, field, length):
        start = "agent." if field == "event_type" else ""
        return start + "r" * (length - len(start))


def test_every_text_has_a_maximum():
    endless = [name for _, name, kind in EVERY_FIELD if kind.get("type") == "string"]
    assert endless
    for write, name, kind in EVERY_FIELD:
        text = "string" in str(kind.get("type")) and kind.get("format") != "uuid"
        assert not text or "maxLength" in kind or "enum" in kind, (write, name)


NAMES = [
    (OPEN, "agent_role"),
    (ROUTE, "target"),
    (ROUTE, "task.task_type"),
    (ASK, "approver_role"),
]
NO_NAMES = {
    "empty": "",
    "blank": " ",
    "a blank before": " finance",
    "a blank behind": "finance ",
    "two blanks": "fin  ance",
    "a line break": "fin\nance",
    "a line break behind": "finance\n",
    "a tab": "fin\tance",
    "escape": "\x1b[2Jfinance",
    "a control character of C1": "fin\x85ance",
    "delete": "finance\x7f",
    "a zero width space": "fin\u200bance",
    "a line separator": "fin\u2028ance",
    "text turned around": "\u202eecnanif",
    "a no-break space": "fin\u00a0ance",
    "a byte order mark": "\ufefffinance",
}


def test_a_name_that_can_not_be_seen_for_what_it_is(world, expect_refusal, subtests):
    for (write, field), (what, name) in product(NAMES, NO_NAMES.items()):
        with subtests.test(f"{field} {what}"):
            expect_refusal(world.send(write, put_at(write.body, field, name)), field)


def test_an_empty_text(world, expect_refusal, subtests):
    for write, field, kind in EVERY_FIELD:
        if kind.get("minLength"):
            with subtests.test(f"{write} {field}"):
                expect_refusal(world.send(write, put_at(write.body, field, "")), field)


def test_a_field_that_there_is_not(world, expect_refusal, subtests):
    for write in WRITES:
        with subtests.test(str(write)):
            expect_refusal(world.send(write, write.body | {"Surprise": 1}), "Surprise")


WITHIN = ("priority", "id", "status", "to_role", "from_role", "payload_digest", "data.x", "")


def test_a_field_that_there_is_not_within_an_object_of_ours(world, expect_refusal, subtests):
    for field in WITHIN:
        with subtests.test(field):
            body = ROUTE.body | {"task": TASK | {field: 1}}
            expect_refusal(world.send(ROUTE, body), f"task.{field}")


def test_ten_thousand_fields_that_there_are_not(world, expect_refusal):
    body = {f"f{n}": n for n in range(MAX_ITEMS - 10)}
    answer = world.send(CLAIM, body)
    expect_refusal(answer, "f0")
    assert len(answer.content) < 4_000


NOT_TO_BE_SET = {
    "status": "approved",
    "state": "active",
    "owner": "bot",
    "owner_id": 1,
    "agent": "payer",
    "agent_id": NOBODY,
    "role": "finance",
    "roles": ["finance"],
    "from_role": "finance",
    "id": NOBODY,
    "session_id": NOBODY,
    "approval_id": NOBODY,
    "event_id": NOBODY,
    "created_at": "2001-01-01T00:00:00Z",
    "updated_at": "2001-01-01T00:00:00Z",
    "expires_at": "2999-01-01T00:00:00Z",
    "lease_expires_at": "2999-01-01T00:00:00Z",
    "timestamp": "2001-01-01T00:00:00Z",
    "decided_by": "alice",
    "decision_at": "2001-01-01T00:00:00Z",
    "claimed_by": "payer",
    "payload": "{}",
    "payload_digest": "0" * 64,
    "revision": 2,
    "version": 7,
    "seq": 7,
    "actor": "human:alice",
    "subject_id": NOBODY,
    "idempotency_key": "k",
    "trace_id": NOBODY,
    "approvals": [],
    "pk": 1,
    "_state": {},
    "__class__": "Task",
}


def test_a_field_that_is_not_the_callers_to_set(world, expect_refusal, subtests):
    for write, (field, value) in product(WRITES, NOT_TO_BE_SET.items()):
        if field not in write.body:
            with subtests.test(f"{write} {field}"):
                expect_refusal(world.send(write, write.body | {field: value}), field)


def test_what_is_free_stays_free(world):
    everything = {"status": None, "__proto__": [1, "x", {"": ""}], "id": True, "a.b": {"[0]": 1.5}}
    body = put_at(ROUTE.body | {"context": everything}, "task.data", everything)
    answer = world.send(ROUTE, body, {"Idempotency-Key": "free"})
    task = world.callers["bot"].get(f"/tasks/{answer.json()['task_id']}").json()
    assert task["data"] == task["context"] == everything


IDS = {
    "empty": "",
    "short": NOBODY[:-1],
    "long": NOBODY + "0",
    "not hexadecimal": NOBODY.replace("8", "g"),
    "without dashes": NOBODY.replace("-", ""),
    "dashes elsewhere": "0000000-00000-4000-8000-000000000000",
    "braces": f"{{{NOBODY}}}",
    "a URN": f"urn:uuid:{NOBODY}",
    "a blank before": " " + NOBODY,
    "Arabic digits": NOBODY.replace("0", "٠"),
    "a number": 7,
    "a large number": 2**53 - 1,
    "true": True,
}


def test_an_id_in_a_body_that_is_none(world, expect_refusal, subtests):
    for name, value in IDS.items():
        with subtests.test(name):
            expect_refusal(world.send(ASK, ASK.body | {"task_id": value}), "task_id")


NO_SEGMENTS = (
    "x",
    NOBODY[:-1],
    NOBODY.replace("-", ""),
    "%00",
    f"{NOBODY}%00",
    "%ff",
    "%ED%A0%80",
    "..",
    "7",
)


def test_an_id_in_a_path_that_is_none(world, subtests):
    for path, segment in product(schema()["paths"], NO_SEGMENTS):
        address = path.replace("{id}", segment).replace("{session_id}", segment)
        for method in schema()["paths"][path] if "{" in path else ():
            with subtests.test(f"{method} {address}"):
                body = {} if method != "get" else None
                answer = world.callers["bot"].send(method.upper(), address, body)
                problem(answer, 404, "not_found")


# Content types and bodies


CONTENT_TYPES = [
    "text/plain",
    "",
    "json",
    "application/*",
    "text/json",
    "application/json5",
    "multipart/form-data; boundary=b",
    "application/x-www-form-urlencoded",
    "application/json,application/json",
    "application/json; charset=latin-1",
    "application/json; charset=utf-16",
    "application/json; charset=base64",
    "application/json; charset=undefined",
    "application/json; charset=no-such-charset",
    "application/json; charset=",
]


def test_a_body_of_another_type(world, expect_refusal, subtests):
    for write, content_type in product(KINDS_OF_WRITE, CONTENT_TYPES):
        with subtests.test(f"{write} {content_type!r}"):
            path = write.path.replace("{id}", str(getattr(world, write.of).pk) if write.of else "")
            body = json.dumps(write.body).encode()
            caller = world.callers[write.by]
            answer = caller.send(write.method, path, body, content_type=content_type)
            expect_refusal(answer, "Content-Type", 415)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=UTF-8", 'application/json;charset="utf-8"'],
)
def test_json_by_its_names(world, expect_refusal, content_type):
    answer = world.callers["bot"].send("POST", "/sessions", b"{}", content_type=content_type)
    expect_refusal(answer, "agent_role")


def test_a_charset_that_the_query_would_be_read_in(world, expect_refusal, subtests):
    for path, charset in product(schema()["paths"], ["latin-1", "utf-7", "no-such", ""]):
        if "{" in path or path not in GETS:
            continue
        with subtests.test(f"{path} {charset!r}"):
            content_type = {"Content-Type": f"application/json; charset={charset}"}
            answer = world.callers["bot"].send("GET", f"{path}?cursor=%E9", headers=content_type)
            expect_refusal(answer, "Content-Type", 415)


def test_no_body_where_fields_are_needed(world, expect_refusal):
    expect_refusal(world.send(OPEN, b""), "agent_role")


OPEN_TO_ALL = ("/health", "/status")
FOR_AUDITORS = ("/audit/log/checkpoint",)
GETS = [
    path
    for path, methods in schema()["paths"].items()
    if methods.get("get", {}).get("security") and path not in FOR_AUDITORS
]
ONE_KIND = ("/audit/events/{id}/proof",)
"""What is a file of one media type, whatever the caller accepts."""


def there(world, path):
    """The address of something that the bot may read."""
    of = {"sessions": world.session, "tasks": world.waiting, "approvals": world.approval}
    of["audit"] = Event.objects.filter(subject_id=world.waiting.pk).first()
    pk = str(getattr(of.get(path.split("/")[1]), "pk", ""))
    return path.replace("{id}", pk).replace("{session_id}", pk)


def test_a_get_with_a_body(world, expect_refusal, subtests):
    for path in GETS:
        with subtests.test(path):
            expect_refusal(world.callers["bot"].send("GET", there(world, path), b"{}"), "body")


# Queries


QUERIES = {
    "unknown": ("surprise=1", "surprise"),
    "unknown and empty": ("surprise", "surprise"),
    "in capitals": ("Page_size=1", "Page_size"),
    "a lookup": ("status__regex=(", "status__regex"),
    "a format that we have not": ("format=xml", "format"),
    "a format that we have": ("format=json", "format"),
    "an array": ("cursor[]=", "cursor[]"),
    "NUL in a name": ("a%00b=1", "a\x00b"),
    "nothing but a value": ("=1", ""),
    "a name that is not UTF-8": ("%ff=1", r"\xff"),
    "a surrogate in a name": ("%ED%A0%80=1", r"\xed\xa0\x80"),
    "a thousand": ("&".join(f"a{n}=1" for n in range(1_000)), "query"),
    "thousands": ("&".join(["page_size=1"] * 50_000), "query"),
    "nothing but separators": ("&" * 5_000, "query"),
    "one too many": ("&".join(["page_size=1"] * (MAX_PARAMETERS + 1)), "query"),
    "a semicolon": ("page_size=1;cursor=", None),
}


def test_a_query_that_is_not_understood(world, expect_refusal, subtests):
    for path, (name, (query, field)) in product(GETS, QUERIES.items()):
        with subtests.test(f"{path} {name}"):
            answer = world.callers["bot"].send("GET", f"{there(world, path)}?{query}")
            expect_refusal(answer, "page_size" if field is None else field or "body")


def test_a_query_where_there_is_none(world, expect_refusal, subtests):
    for write, query in product(WRITES, ("surprise=1", "page=1", "&".join(["a=1"] * 2_000))):
        with subtests.test(f"{write} {query[:20]}"):
            path = write.path.replace("{id}", str(getattr(world, write.of).pk) if write.of else "")
            answer = world.callers[write.by].send(write.method, f"{path}?{query}", write.body)
            expect_refusal(answer, "query" if len(query) > 20 else query.partition("=")[0])


def list_parameters():
    """Every parameter of every list."""
    for path in GETS:
        for parameter in schema()["paths"][path]["get"].get("parameters", ()):
            if parameter["in"] == "query":
                yield path, parameter["name"], parameter["schema"]


IN_ANY_PARAMETER = {
    "NUL": "a%00b",
    "not UTF-8": "%ff",
    "a surrogate": "%ED%A0%80",
    "half a pair": "%ED%B0%80x",
    "an overlong slash": "%C0%AF",
    "a blank": "%20",
    "a plus": "+",
    "a tab": "%09",
}


def test_a_value_that_no_parameter_takes(world, expect_refusal, subtests):
    for (path, name, _), (what, value) in product(list_parameters(), IN_ANY_PARAMETER.items()):
        with subtests.test(f"{path} {name} {what}"):
            expect_refusal(
                world.callers["bot"].send("GET", f"{there(world, path)}?{name}={value}"), name
            )


def test_a_parameter_given_twice(world, expect_refusal, subtests):
    for path, name, _ in list_parameters():
        with subtests.test(f"{path} {name}"):
            value = {"cursor": ""}.get(name, "1")
            query = f"{name}={value}&{name}={value}"
            expect_refusal(world.callers["bot"].send("GET", f"{there(world, path)}?{query}"), name)


NO_NUMBERS = [
    "0",
    "-1",
    "1.5",
    "1e1",
    "1" + "0" * 30,
    "٣",
    "²",
    "x",
    "0x1",
    "1_0",
    "%2B1",
    "true",
    "1,2",
]


def test_a_page_that_is_none(world, expect_refusal, subtests):
    pages = [(path, name) for path, name, kind in list_parameters() if kind["type"] == "integer"]
    for (path, name), number in product(pages, NO_NUMBERS):
        with subtests.test(f"{path} {name}={number}"):
            query = f"{name}={quote(number, safe='%')}"
            expect_refusal(world.callers["bot"].send("GET", f"{there(world, path)}?{query}"), name)


NO_MOMENTS = [
    "0000-01-01T00:00:00Z",
    "99999-01-01T00:00:00Z",
    "-001-01-01T00:00:00Z",
    "2026-01-01T00:00:00",
    "2026-01-01",
    "2026-01-01 00:00:00Z",
    "2026-01-01T00:00:00 00:00",
    "2026-01-01T23:59:60Z",
    "2026-01-01T25:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-01-01T00:00:00+25:00",
    "2026-01-01T00:00:00+00",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "٢٠٢٦-01-01T00:00:00Z",
    "10/25/2026 14:30",
    "1767225600",
    "now",
    "infinity",
    "2026-W01-1T00:00:00Z",
]


def test_a_moment_that_is_none(world, expect_refusal, subtests):
    moments = [
        (path, name) for path, name, kind in list_parameters() if kind.get("format") == "date-time"
    ]
    for (path, name), moment in product(moments, NO_MOMENTS):
        with subtests.test(f"{path} {name}={moment}"):
            expect_refusal(world.callers["bot"].get(path, **{name: moment}), name)


def test_an_id_in_a_query_that_is_none(world, expect_refusal, subtests):
    ids = [(path, name) for path, name, kind in list_parameters() if kind.get("format") == "uuid"]
    values = [value for value in IDS.values() if isinstance(value, str)]
    for (path, name), value in product(ids, values):
        with subtests.test(f"{path} {name}={value}"):
            query = f"{name}={quote(value)}"
            expect_refusal(world.callers["bot"].send("GET", f"{there(world, path)}?{query}"), name)


CURSORS = {
    "random": "x" * 40,
    "long": "A" * 5_000,
    "not of Base64": "!!!.***",
    "nothing but a point": ".",
    "NUL": "%00",
    "JSON": quote('["2026-01-01T00:00:00+00:00"]'),
    "unsigned": "WyIyMDI2LTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwgIjAiXQ",
    "signed by somebody else": "WyIyMDI2LTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwgIjAiXQ." + "A" * 43,
}


def test_a_cursor_that_we_did_not_make(world, expect_refusal, subtests):
    paths = [path for path, name, _ in list_parameters() if name == "cursor"]
    for path, (name, cursor) in product(paths, CURSORS.items()):
        with subtests.test(f"{path} {name}"):
            answer = world.callers["bot"].send("GET", f"{there(world, path)}?cursor={cursor}")
            expect_refusal(answer, "cursor")


def next_cursor(world, path):
    return world.callers["bot"].get(path, cursor="", page_size=1).json()["next_cursor"]


def test_another_lists_cursor(world, expect_refusal):
    lists = [p for p, n, _ in list_parameters() if n == "cursor" and "{" not in p]
    made = {path: next_cursor(world, path) for path in ("/tasks", "/approvals", "/audit/events")}
    for path in lists:
        for other, cursor in made.items():
            if other != path:
                expect_refusal(world.callers["bot"].get(path, cursor=cursor), "cursor")
    within = f"/sessions/{world.session.pk}/tasks"
    expect_refusal(world.callers["bot"].get(within, cursor=made["/tasks"]), "cursor")


def test_a_cursor_with_one_character_changed(world, expect_refusal):
    cursor = next_cursor(world, "/tasks")
    for place in range(0, len(cursor) - 1, 7):
        changed = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        expect_refusal(world.callers["bot"].get("/tasks", cursor=changed), "cursor")


# Headers


KEYS = {
    "empty": "",
    "a blank": " ",
    "256 characters": "k" * 256,
    "256 quoted": f'"{"k" * 256}"',
    "a blank within": "a b",
    "a control character": "a\x07b",
    "a tab": "a\tb",
    "an accent": "clé",
    "more than Latin-1": "键",
    "a quote that never ends": '"abc',
    "a quote within quotes": '"a"b"',
    "quoted and empty": '""',
    "quoted, with more behind": '"a";x=1',
}


def test_an_idempotency_key_that_is_none(world, expect_refusal, subtests):
    for write, (name, key) in product(WRITES, KEYS.items()):
        with subtests.test(f"{write} {name}"):
            sent = key.encode().decode("latin-1")  # as a server hands over the bytes
            body = dict(write.body)
            if "payload_digest" in body:
                body["payload_digest"] = world.approval.payload_digest
            expect_refusal(world.send(write, body, {"Idempotency-Key": sent}), "Idempotency-Key")


@pytest.mark.parametrize("key", ["k" * 255, f'"{"k" * 255}"'])
def test_the_longest_idempotency_key(world, key):
    assert world.send(OPEN, OPEN.body, {"Idempotency-Key": key}).status_code == 201


def test_no_idempotency_key_where_one_is_needed(world, expect_refusal):
    expect_refusal(world.callers["bot"].post("/tasks/route", ROUTE.body), "Idempotency-Key")


NO_TAGS = ["1", "x", '"1', '1"', "W/1", 'w/"1"', "**", '*, "1"', '"1" x', "é", '"a\x01b"', "'1'"]


def test_if_match_that_names_no_tags(world, expect_refusal, subtests):
    for tags in NO_TAGS:
        with subtests.test(tags):
            expect_refusal(world.send(UPDATE, UPDATE.body, {"If-Match": tags}), "If-Match")


@pytest.mark.parametrize(
    "tags", ['W/"1"', '"7"', '"7", W/"1"', '"99999999999999999999"', '"é"', '"a,b"']
)
def test_if_match_that_names_other_versions(world, tags):
    path = there(world, "/sessions/{id}")
    answer = world.callers["bot"].put(path, UPDATE.body, headers={"If-Match": tags})
    problem(answer, 412, "stale_version")


TRACES = [
    "",
    "x",
    NOBODY[:-1],
    "00-" + "0" * 31 + "-" + "0" * 16 + "-01",
    NOBODY + "," + NOBODY,
    "é",
]


def test_a_trace_that_is_none(world, expect_refusal, subtests):
    for write, trace in product(KINDS_OF_WRITE, TRACES):
        with subtests.test(f"{write} {trace!r}"):
            expect_refusal(world.send(write, write.body, {"X-Trace-Id": trace}), "X-Trace-Id")


SESSIONS = [
    "",
    "x",
    NOBODY[:-1],
    f"{{{NOBODY}}}",
    NOBODY + "," + NOBODY,
    NOBODY.replace("-", ""),
    "é",
]


def test_a_session_that_is_none(world, expect_refusal, subtests):
    for write, session in product([ROUTE, CLAIM, COMPLETE], SESSIONS):
        with subtests.test(f"{write} {session!r}"):
            expect_refusal(world.send(write, write.body, {"X-Session-Id": session}), "X-Session-Id")


@pytest.mark.parametrize("whose", ["theirs", "nobody's"])
@pytest.mark.parametrize("write", [ROUTE, CLAIM], ids=str)
def test_a_session_of_somebody_else(world, expect_refusal, write, whose):
    others = world.theirs if write is ROUTE else world.session
    session = str(others.pk) if whose == "theirs" else NOBODY
    expect_refusal(world.send(write, write.body, {"X-Session-Id": session}), "X-Session-Id")


PREFERENCES = [
    "nonsense",
    "",
    "wait",
    "wait=",
    "wait=-1",
    "wait=x",
    "wait=" + "9" * 40,
    "wait=1e9",
    ";;,,==",
    "é",
]


def test_a_preference_that_means_nothing_is_no_preference(world, subtests):
    """RFC 7240, 2: what is not understood is ignored."""
    path = there(world, "/approvals/{id}")
    for preference in PREFERENCES:
        with subtests.test(preference):
            answer = world.callers["bot"].get(path, {"Prefer": preference})
            assert answer.status_code == 200
            assert "Preference-Applied" not in answer.headers


NOT_OURS = ("text/html", "application/xml", "image/*", "json", "/", ";;;", "é", "a" * 5_000)


def test_an_answer_of_a_type_that_we_can_not_give(world, expect_refusal, subtests):
    for path, accept in product(set(GETS) - {*ONE_KIND}, NOT_OURS):
        with subtests.test(f"{path} {accept[:20]}"):
            expect_refusal(
                world.callers["bot"].get(there(world, path), {"Accept": accept}), "Accept", 406
            )


AUTHORIZATIONS = [
    "Bearer",
    "Bearer ",
    "Bearer x y",
    "Bearer é",
    "Bearer \x00",
    "Bearer " + "a." * 2_000,
    "Basic eDp4",
    "x",
    "Bearer orc_",
    "Bearer ..",
    "Bearer e30.e30.",
]


def test_credentials_that_are_none(world, subtests):
    for given in AUTHORIZATIONS:
        with subtests.test(given[:20]):
            problem(Api(Authorization=given).get("/sessions"), 401)


COOKIES = ("sessionid=%00", "sessionid=\x00", "sessionid=" + "x" * 4_000, "=;=;", "é")


def test_cookies_that_are_none(world, subtests):
    for cookie in COOKIES:
        with subtests.test(cookie[:20]):
            problem(Api(Cookie=cookie).get("/sessions"), 401)


# What Django's test client can't send


class Server:
    """gunicorn as in production, on a port."""

    def __init__(self, port):
        self.port = port

    def exchange(self, *parts, end=False):
        """Everything that is answered to ``parts``, until the server hangs up.

        With ``end`` the caller hangs up after them.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as raw:
            try:
                for part in parts:
                    raw.sendall(part)
                if end:
                    raw.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has heard enough
            return b"".join(iter(lambda: receive(raw), b""))


def receive(raw):
    try:
        return raw.recv(65_536)
    except ConnectionResetError:
        return b""


@pytest.fixture(scope="module")
def server(world, tmp_path_factory):
    place = tmp_path_factory.mktemp("server")
    port = free_port()
    env = on_the_tests_database(port, DATA_DIR=str(place))
    with gunicorn(place / "log", env) as process:
        server = Server(port)
        while process.poll() is None:
            try:
                assert b" 200 " in server.exchange(request_head("GET", "/status"))
                break
            except ConnectionRefusedError:
                continue
        yield server


def request_head(method, path, *lines):
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *lines]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n"


def parse_response(answer):
    class Answered:
        def makefile(self, mode):
            return io.BytesIO(answer)

    response = http.client.HTTPResponse(Answered())
    response.begin()
    return response


def refusal(answer, field, status=400):
    """``answer``, the bytes of one response, as the problem that names ``field``."""
    response = parse_response(answer)
    assert response.status == status, answer
    assert response.headers["Content-Type"] == "application/problem+json"
    assert field in [error["field"] for error in json.loads(response.read())["errors"]]


@pytest.fixture
def expect_no_change(world):
    before = whole()
    yield
    assert whole() == before


@pytest.fixture
def send_raw(world, server, expect_no_change):
    """``send_raw(method, path, lines, *body)``: what bot is answered, the body sent in parts."""

    def ask(method, path, lines, *body, end=False):
        who = f"Authorization: Bearer {world.bot.key}"
        kind = "Content-Type: application/json"
        return server.exchange(request_head(method, path, who, kind, *lines), *body, end=end)

    return ask


GOOD = b'{"agent_role": "support-agent"}'


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


class TestOnTheWire:
    def test_a_good_request_is_understood(self, send_raw):
        answer = send_raw("POST", "/sessions", ["Content-Length: 2"], b"{", b"}")
        refusal(answer, "agent_role")

    @pytest.mark.parametrize("more", [1, 500])
    def test_a_body_shorter_than_it_was_said_to_be(self, send_raw, more):
        """What arrived is whole JSON; only the length tells that something was lost."""
        lines = [f"Content-Length: {len(GOOD) + more}"]
        assert send_raw("POST", "/sessions", lines, GOOD, end=True) == b""

    def test_a_body_longer_than_it_was_said_to_be(self, send_raw):
        answer = send_raw("POST", "/sessions", [f"Content-Length: {len(GOOD) - 1}"], GOOD)
        refusal(answer, "body")

    @pytest.mark.parametrize("size", [len(GOOD), 3_000_000])
    def test_a_body_in_chunks(self, send_raw, size):
        """Django reads none of it, and would take it for no body at all."""
        pad = chunk(b" " * 10_000) * (size // 10_000)
        lines = ["Transfer-Encoding: chunked"]
        answer = send_raw("POST", "/sessions", lines, pad, chunk(GOOD), b"0\r\n\r\n")
        refusal(answer, "Transfer-Encoding")

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_body_that_is_said_to_be_too_large_is_not_waited_for(self, send_raw, method):
        lines = [f"Content-Length: {settings.MAX_BODY_BYTES + 1}"]
        answer = send_raw(method, "/sessions", lines, b"{")
        refusal(answer, "body", 413 if method == "POST" else 400)

    @pytest.mark.parametrize(
        "lines",
        [
            ["Content-Length: -1"],
            ["Content-Length: x"],
            ["Content-Length: 1e1"],
            ["Content-Length: +2"],
            ["Content-Length: 2, 2"],
            ["Content-Length: 2", "Content-Length: 3"],
            ["Content-Length: 2", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding: nonsense"],
            ["Transfer-Encoding: chunked, chunked"],
            ["X-Large: " + "x" * 9_000],
            [f"X-{n}: 1" for n in range(200)],
            ["Idempotency-Key: a\x00b"],
            ["Idempotency-Key : a"],
            ["No colon"],
            ["Content-Type: application/json"],
            [": no name"],
            ["X-Accented-\xe9: 1"],
        ],
        ids=lambda lines: f"{lines[0][:40]!r}",
    )
    def test_heads_that_the_server_itself_refuses(self, send_raw, lines):
        answer = send_raw("POST", "/sessions", lines, b"{}")
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 ", b"HTTP/1.1 501 ")), answer

    @pytest.mark.parametrize(
        "path", ["/sessions?" + "a&" * 3_000, "/sessions?" + "a=1&" * 900, "/" + "x" * 5_000]
    )
    def test_addresses_that_are_too_long(self, send_raw, path):
        answer = send_raw("GET", path, [])
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 414 ")), answer

    @pytest.mark.parametrize(
        "path",
        [
            "/sessions\x00",
            "/sessions/%00",
            "/sessions/\xff",
            "//",
            "/../x",
            "*",
            "x",
            "/sessions?\xff=1",
            "/sessions?x=\x01",
        ],
    )
    def test_addresses_that_are_none(self, send_raw, path):
        answer = send_raw("GET", path, [])
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ")), answer

    @pytest.mark.parametrize(
        ("twice", "field"),
        [
            (["X-Session-Id: x", "X-Session-Id: y"], "X-Session-Id"),
            ([f"X-Trace-Id: {NOBODY}", f"X-Trace-Id: {NOBODY}"], "X-Trace-Id"),
            (["Idempotency-Key: a b", "Idempotency-Key: c"], "Idempotency-Key"),
            (['Idempotency-Key: "a"', 'Idempotency-Key: "a"'], "Idempotency-Key"),
            (["Idempotency-Key: cl\xe9"], "Idempotency-Key"),
            (["Idempotency-Key:"], "Idempotency-Key"),
        ],
        ids=str,
    )
    def test_headers_that_are_given_twice_or_wrong(self, send_raw, twice, field):
        body = json.dumps(ROUTE.body).encode()
        key = [] if "Idem" in field else ["Idempotency-Key: k"]
        lines = [*key, *twice, f"Content-Length: {len(body)}"]
        answer = send_raw("POST", "/tasks/route", lines, body)
        refusal(answer, field)

    @pytest.mark.parametrize("charset", ["base64", "undefined", "idna", "utf-16", "latin-1"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_charset_that_the_query_would_be_read_in(
        self, world, server, expect_no_change, method, charset
    ):
        who = f"Authorization: Bearer {world.bot.key}"
        kind = f"Content-Type: application/json; charset={charset}"
        path = "/sessions?agent_role=%41"
        refusal(server.exchange(request_head(method, path, who, kind)), "Content-Type", 415)
        refused = server.exchange(request_head("GET", "/admin/?page=%41", kind))
        assert parse_response(refused).status == 302  # to sign in

    @pytest.mark.parametrize("rest", ["charset*=none''x", "charset*=undefined''%ff", "x*0*=;*=''"])
    def test_a_content_type_that_can_not_be_read(self, send_raw, rest, world, server):
        who = f"Authorization: Bearer {world.bot.key}"
        lines = [who, f"Content-Type: application/json; {rest}", "Content-Length: 2"]
        answer = parse_response(
            server.exchange(request_head("POST", "/sessions?a=1", *lines), b"{}")
        )
        assert answer.status in (400, 415)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_two_thousand_parameters_in_utf_8(self, world, server, expect_no_change, method):
        who = f"Authorization: Bearer {world.bot.key}"
        kind = "Content-Type: application/json; charset=utf-8"
        path = "/sessions?" + "a&" * 1_900
        refusal(server.exchange(request_head(method, path, who, kind)), "query")

    def test_a_caller_who_hangs_up_in_the_middle_leaves_nothing(self, server, send_raw):
        for part in (b"", GOOD[:7]):
            send_raw("POST", "/sessions", [f"Content-Length: {len(GOOD)}"], part, end=True)
        assert b" 200 " in server.exchange(request_head("GET", "/status"))
