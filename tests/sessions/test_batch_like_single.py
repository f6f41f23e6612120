"""A batch gives the answers, and leaves the rows and events, of its requests sent one by one."""

import json
import re

from django.db import connection
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.client import Api
from tests.database import empty
from tests.factories import AgentFactory, policy, session_in

TRACE = {"X-Trace-Id": "5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11"}
CHANGING = re.compile(
    r"ork_[\w-]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+[Z+:0-9]*"
)
TABLES = {
    "tasks": "idempotency_key",
    "approvals": "payload_digest, approver_role",
    "request_receipts": "endpoint, key",
    "audit_events": "subject_type, event_type, metadata ->> 'payload_digest', role, entry::text",
}
# A fingerprint is of the session's id as well; that it is the same either way, replays show.
PASSING = "'{id,agent_id,session_id,task_id,position,xid,fingerprint}'::text[]"

numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e9, 1e9).map(lambda x: round(x, 3))
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
values = st.none() | st.booleans() | numbers | texts
objects = st.dictionaries(texts, values | st.lists(values, max_size=2), max_size=3)
types = st.sampled_from(
    ["refund", "refund_approval", "notification", "forbidden", "wire", "question", "", " x"]
)
tasks = st.fixed_dictionaries(
    {"task_type": types},
    optional={"description": texts, "data": objects | st.just({"question": "Why?"}) | values},
)
requests = st.fixed_dictionaries(
    {"target": st.sampled_from(["finance", "sre", ""]), "task": tasks},
    optional={"context": objects, "on_behalf_of": st.just("carol"), "other": values},
)
keys = st.sampled_from([f"key {number}" for number in range(6)])
batches = st.dictionaries(keys, requests, min_size=1)


def set_up_world(session):
    """The world before: policies, an agent, and one of its sessions."""
    policy("forbidden", "refuse", when={"task_type": "forbidden"})
    policy(
        "wire",
        asks="2 finance, 1 legal",
        when={"task_type": "wire", "condition": "data.n > 1"},
        valid_for="2h",
        reminders=["1h"],
        look_for="5s",
    )
    agent = AgentFactory(name="asker", roles=["support-agent"])
    given = {"X-Session-Id": str(session_in(session, agent).pk)} if session else {}
    return Api(agent, **TRACE, **given)


def one_by_one(api, batch):
    results = []
    for key, request in batch.items():
        answer = api.post("/tasks/route", request, {"Idempotency-Key": json.dumps(key)})
        name = "task" if answer.status_code < 400 else "problem"
        result = {"status": answer.status_code, name: answer.json()}
        again = {"replayed": True} if "Idempotent-Replayed" in answer.headers else {}
        if at := answer.headers.get("Idempotent-Answered-At"):
            again["answered_at"] = at
        results.append(result | again)
    return results


def at_once(api, batch):
    asked = [{"idempotency_key": key} | request for key, request in batch.items()]
    return api.post("/tasks/route:batch", {"tasks": asked}).json()["results"]


def read_database():
    """What is in the database now, without what differs between any two runs."""
    found = {}
    with connection.cursor() as cursor:
        for table, order in TABLES.items():
            cursor.execute(
                f"SELECT (to_jsonb(r) - {PASSING})::text FROM {table} AS r ORDER BY {order}"
            )
            found[table] = sorted(CHANGING.sub("…", text) for (text,) in cursor.fetchall())
    return found


@settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.generate,),  # each example costs a second: nothing is made smaller
    suppress_health_check=list(HealthCheck),
)
@given(first=batches, second=batches, session=st.sampled_from([None, None, "active", "failed"]))
def test_a_batch_is_what_its_requests_are_one_by_one(first, second, session):
    outcomes = []
    for first_way in (one_by_one, at_once):
        for second_way in (one_by_one, at_once):
            empty()
            api = set_up_world(session)
            said = [first_way(api, first), second_way(api, second)]
            outcomes.append((CHANGING.sub("…", json.dumps(said, sort_keys=True)), read_database()))
    for said, rows in outcomes[1:]:
        assert said == outcomes[0][0]
        for table in TABLES:
            assert rows[table] == outcomes[0][1][table]
