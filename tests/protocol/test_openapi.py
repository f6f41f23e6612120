"""The published document is valid, complete and true."""

import json
import re

import jsonschema
import pytest
from drf_spectacular.validation import validate_schema

from tests.client import schema
from tests.factories import SessionFactory, TaskFactory, the_approval

PROMISED = {
    ("POST", "/sessions"),
    ("GET", "/sessions"),
    ("GET", "/sessions/{id}"),
    ("PUT", "/sessions/{id}"),
    ("GET", "/sessions/{session_id}/tasks"),
    ("POST", "/tasks/route"),
    ("POST", "/tasks/route:batch"),
    ("GET", "/tasks"),
    ("GET", "/tasks/{id}"),
    ("POST", "/tasks/{id}/claim"),
    ("POST", "/tasks/{id}/extend"),
    ("POST", "/tasks/{id}/complete"),
    ("POST", "/tasks/{id}/fail"),
    ("POST", "/tasks/{id}/cancel"),
    ("POST", "/approvals"),
    ("GET", "/approvals"),
    ("GET", "/approvals/{id}"),
    ("POST", "/approvals/{id}/approve"),
    ("POST", "/approvals/{id}/reject"),
    ("GET", "/audit/events"),
    ("POST", "/audit/events"),
    ("GET", "/health"),
    ("GET", "/status"),
}


def operations():
    for path, methods in schema()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def example(described):
    """The plainest value that ``described``, a JSON schema, admits."""
    if "$ref" in described:
        return example(schema()["components"]["schemas"][described["$ref"].rpartition("/")[2]])
    if "enum" in described:
        return described["enum"][0]
    kind = described.get("type", "object")
    if kind == "object":
        needed = described.get("required", [])
        return {name: example(described["properties"][name]) for name in needed}
    if described.get("format") == "uuid":
        return "5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11"
    if "pattern" in described:
        known = ("0" * 64, "agent.noted")
        return next(text for text in known if re.search(described["pattern"], text))
    if kind == "array":
        return [example(described["items"])] * described.get("minItems", 0)
    return {"string": "finance", "integer": 1, "boolean": True}[kind]


def test_the_document_is_valid_openapi_3_1():
    assert schema()["openapi"].startswith("3.1")
    validate_schema(schema())


def test_every_schema_in_it_is_a_valid_json_schema():
    for described in schema()["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(described)


def test_it_tells_of_everything_that_was_promised():
    assert {(method, path) for method, path, _ in operations()} >= PROMISED


def test_it_is_served(api):
    answer = api().get("/schema")
    assert answer.status_code == 200
    assert json.loads(answer.content) == schema()


def test_its_page_asks_no_other_host(api):
    page = api().get("/docs")
    assert page.status_code == 200
    assert re.findall(r"""(?:src|href|url)\s*[=:(]\s*["']?(?:https?:)?//""", page.text) == []


def test_every_operation_has_a_name_of_its_own():
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


def test_every_operation_says_what_it_does():
    for method, path, operation in operations():
        assert operation.get("description") or operation.get("summary"), (method, path)


def test_every_operation_that_needs_a_caller_says_so_and_what_it_may_refuse():
    for _, path, operation in operations():
        if path not in ("/health", "/status"):
            assert operation["security"]
            assert {"400", "401", "403", "404"} <= set(operation["responses"])


@pytest.mark.parametrize(
    ("method", "path"),
    sorted(pair for pair in PROMISED if pair[0] != "GET"),
)
def test_the_plainest_request_that_it_describes_is_well_formed(api, bot, method, path):
    operation = schema()["paths"][path][method.lower()]
    content = operation.get("requestBody", {}).get("content", {})
    body = example(content["application/json"]["schema"]) if content else {}
    task, session = TaskFactory(agent=bot), SessionFactory(agent=bot)
    there = {"sessions": session, "tasks": task, "approvals": the_approval(task)}
    address = path.replace("{id}", str(there.get(path.split("/")[1], task).pk))
    answer = api(bot).send(method, address, body, headers={"Idempotency-Key": "plainest"})

    assert answer.status_code not in (400, 405, 415), answer.content
