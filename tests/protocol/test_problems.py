"""Every refusal is one RFC 9457 problem, with a code that does not change."""

import json
from uuid import UUID

import pytest
from django.test import Client

from tests.factories import AgentFactory, SessionFactory, TaskFactory, the_approval

TRACE = "5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11"


def problem(answer, status, code=None):
    """``answer`` as the problem that it must be."""
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert {"type", "title", "status", "detail", "code", "trace_id"} <= set(body)
    assert body["status"] == status
    assert body["type"] == f"urn:orchestrator:problem:{body['code']}"
    assert body["trace_id"] == answer.headers["X-Trace-Id"] == str(UUID(body["trace_id"]))
    assert body["title"]
    assert body["detail"]
    if code:
        assert body["code"] == code
    return body


def raw(api, agent, body, path="/sessions", content_type="application/json"):
    return api(agent).send("POST", path, body, content_type=content_type)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/sessions/", "/sessions/7", "/tasks/x/claim", "/%00"]
)
def test_nothing_is_at_an_unknown_address(api, bot, path):
    problem(api(bot).get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/sessions"),
        ("PATCH", "/sessions"),
        ("POST", "/tasks"),
        ("GET", "/tasks/route"),
        ("POST", "/health"),
    ],
)
def test_a_method_that_is_not_allowed(api, bot, method, path):
    answer = api(bot).send(method, path, {})
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"]


def test_an_answer_that_is_not_json_can_not_be_had(api, bot):
    problem(api(bot).get("/sessions", {"Accept": "application/xml"}), 406, "not_acceptable")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; b=x"]
)
def test_a_body_that_is_not_json(api, bot, content_type):
    answer = raw(api, bot, b"agent_role=x", content_type=content_type)
    problem(answer, 415, "unsupported_media_type")


def build_nested(depth):
    return b'{"agent_role":"support-agent","metadata":{"a":' + b"[" * depth + b"]" * depth + b"}}"


def build_request(value):
    """A request whose metadata hold the JSON text ``value``."""
    return b'{"agent_role":"support-agent","metadata":{"n":' + value + b"}}"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", None),
        (b"{", "malformed_json"),
        (b"{'a': 1}", "malformed_json"),
        (b'{"agent_role": "support-agent"} x', "malformed_json"),
        (b'\xef\xbb\xbf{"agent_role": "support-agent"}', None),
        (b'{"agent_role": "\xff"}', "invalid_utf8"),
        (b'{"agent_role": "\xed\xa0\x80"}', "invalid_utf8"),
        (b"[]", "malformed_json"),
        (b"null", "malformed_json"),
        (b'"text"', "malformed_json"),
        (build_nested(60), "too_deep"),
        (build_nested(100_000), "too_deep"),
        (build_request(b"NaN"), "malformed_json"),
        (build_request(b"Infinity"), "malformed_json"),
        (build_request(b"-Infinity"), "malformed_json"),
        (build_request(b"1e400"), "inexact_number"),
        (build_request(b"9007199254740992"), "inexact_number"),
        (build_request(b"-9007199254740992"), "inexact_number"),
        (build_request(b"9007199254740992.0"), "inexact_number"),
        (build_request(b"9007199254740993"), "inexact_number"),
        (build_request(b"-9007199254740993"), "inexact_number"),
        (build_request(b"1" * 5000), "inexact_number"),
        (build_request(b"0.1234567890123456789"), "inexact_number"),
        (build_request(b"1." + b"0" * 5000), "inexact_number"),
        (build_request(b'"\\u0000"'), "nul_character"),
        (build_request(b'{"\\u0000": 1}'), "nul_character"),
        (build_request(b'"\\ud800"'), "lone_surrogate"),
        (build_request(b'["\\udc00\\ud800"]'), "lone_surrogate"),
        (build_request(b'{"a": 1, "a": 2}'), "duplicate_name"),
        (b'{"agent_role": "support-agent", "agent_role": "x"}', "duplicate_name"),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else value,
)
def test_a_body_that_another_reader_would_read_otherwise(api, bot, body, code):
    problem(raw(api, bot, body), 400, code)


def test_the_field_is_named_where_it_is_known(api, bot):
    body = problem(raw(api, bot, build_request(b'{"deep": ["x", "\\u0000"]}')), 400)
    assert body["errors"][0]["field"] == "metadata.n.deep[1]"


@pytest.mark.parametrize("number", [2**53 - 1, -(2**53) + 1, 0.1, 1e15, -0.0])
def test_a_number_that_a_double_holds_comes_back_as_it_was(api, bot, number):
    session = SessionFactory(agent=bot)
    answer = api(bot).put(f"/sessions/{session.pk}", {"metadata": {"n": number}})
    assert answer.status_code == 200
    assert answer.json()["metadata"] == {"n": number}


@pytest.mark.parametrize("number", [2**53 - 1, 9007199254740991.0, 5e-324, 0.1])
def test_a_task_with_such_a_number_is_routed(api, bot, number):
    body = {"target": "finance", "task": {"task_type": "x", "data": {"n": number}}}
    answer = api(bot).post("/tasks/route", body, {"Idempotency-Key": "n"})
    assert answer.status_code == 202


def test_text_of_every_kind_comes_back_as_it_was(api, bot):
    metadata = {"\u0001\x7f": 'quote " and \\ and </script>', "😀": ["🇨🇭", "e\u0301", "\u2028"]}
    session = SessionFactory(agent=bot)
    answer = api(bot).put(f"/sessions/{session.pk}", {"metadata": metadata})
    assert answer.json()["metadata"] == metadata


def test_an_unknown_field_is_named(api, bot):
    body = {"agent_role": "support-agent", "status": "active"}
    said = problem(api(bot).post("/sessions", body), 400)
    assert [error["field"] for error in said["errors"]] == ["status"]


def test_an_unknown_field_within_is_named(api, bot):
    body = {"target": "finance", "task": {"task_type": "x", "priority": 1}}
    said = problem(api(bot).post("/tasks/route", body, {"Idempotency-Key": "k"}), 400)
    assert [error["field"] for error in said["errors"]] == ["task.priority"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "agent_role"),
        ({"agent_role": 7}, "agent_role"),
        ({"agent_role": ["support-agent"]}, "agent_role"),
        ({"agent_role": "support-agent", "metadata": []}, "metadata"),
        ({"agent_role": "support-agent", "metadata": "x"}, "metadata"),
        ({"agent_role": "support-agent", "task_id": {}}, "task_id"),
        ({"agent_role": "support-agent", "task_id": "x" * 256}, "task_id"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(api, bot, body, field):
    said = problem(api(bot).post("/sessions", body), 400)
    assert [error["field"] for error in said["errors"]] == [field]


@pytest.mark.parametrize("more", [1, 1_000_000])
def test_a_body_that_is_too_large(api, bot, settings, more):
    shell = json.dumps({"agent_role": "support-agent", "metadata": {"a": ""}}).encode()
    padding = b"x" * (settings.MAX_BODY_BYTES - len(shell) + more)
    answer = raw(api, bot, shell.replace(b'""', b'"' + padding + b'"'))
    problem(answer, 413, "body_too_large")


def test_a_body_of_just_the_greatest_size_is_accepted(api, bot, settings):
    shell = json.dumps({"target": "finance", "task": {"task_type": "x", "data": {"a": ""}}})
    body = shell.replace('""', '"' + "x" * (settings.MAX_BODY_BYTES - len(shell)) + '"').encode()
    assert len(body) == settings.MAX_BODY_BYTES
    answer = api(bot).send("POST", "/tasks/route", body, headers={"Idempotency-Key": "whole"})
    assert answer.status_code == 202


def test_nobody_is_asked_to_say_who_they_are(api):
    answer = api().get("/sessions")
    problem(answer, 401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_signed_in_person_without_the_csrf_token_changes_nothing(alice, bot):
    approval = the_approval(TaskFactory(agent=bot))
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    answer = client.post(
        f"/approvals/{approval.pk}/approve",
        {"payload_digest": approval.payload_digest},
        content_type="application/json",
    )

    problem(answer, 403, "csrf_failed")
    assert type(approval).objects.get(pk=approval.pk).status == "pending"


def test_a_signed_in_person_with_the_csrf_token_decides(alice, bot):
    approval = the_approval(TaskFactory(agent=bot))
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    client.cookies["csrftoken"] = token = "t" * 32
    answer = client.post(
        f"/approvals/{approval.pk}/approve",
        {"payload_digest": approval.payload_digest},
        content_type="application/json",
        headers={"X-CSRFToken": token},
    )
    assert answer.status_code == 200


def test_a_bad_host_is_a_problem():
    problem(Client().get("/tasks", headers={"Host": "evil.example"}), 400, "bad_host")


@pytest.mark.parametrize("given", ["x", "", "5b2c0c9f", TRACE + "0", "00-zz-00-01"])
def test_a_trace_id_that_is_none_is_refused_by_name(api, bot, given):
    said = problem(api(bot).get("/sessions", {"X-Trace-Id": given}), 400)
    assert said["errors"][0]["field"] == "X-Trace-Id"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Trace-Id": TRACE},
        {"X-Trace-Id": TRACE.upper()},
        {"X-Trace-Id": f"00-{TRACE.replace('-', '')}-00f067aa0ba902b7-01"},
        {"traceparent": f"00-{TRACE.replace('-', '')}-00f067aa0ba902b7-01"},
        {"X-Trace-Id": TRACE, "traceparent": "00-" + "a" * 32 + "-00f067aa0ba902b7-01"},
    ],
)
def test_the_callers_trace_id_comes_back_on_every_answer(api, bot, headers):
    assert api(bot).get("/sessions", headers).headers["X-Trace-Id"] == TRACE
    said = problem(api(bot).get("/nowhere", headers), 404)
    assert said["trace_id"] == TRACE


def test_a_traceparent_that_is_none_is_ignored(api, bot):
    answer = api(bot).get("/sessions", {"traceparent": "nonsense"})
    assert answer.status_code == 200
    assert UUID(answer.headers["X-Trace-Id"])


def test_each_request_has_a_trace_of_its_own(api, bot):
    caller = api(bot)
    assert len({caller.get("/sessions").headers["X-Trace-Id"] for _ in range(3)}) == 3


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_is_somebody_elses_is_not_there(api, bot, method):
    session = SessionFactory(agent=AgentFactory())
    body = {} if method == "PUT" else None
    problem(api(bot).send(method, f"/sessions/{session.pk}", body), 404, "not_found")


def test_health_and_status_are_open_to_all(api):
    assert api().get("/health").json()["database"] == "ok"
    assert api().get("/status").json()["status"] == "ok"
