"""``null`` for an optional member of a request is absence, in every request that is described."""

import jsonschema
import pytest

from orchestrator.mcp import schemas
from sessions_app.models import AgentSession, Task
from tests.client import schema
from tests.factories import SessionFactory, TaskFactory, the_approval
from tests.protocol.test_openapi import example, operations


def resolve(described):
    while "$ref" in described:
        described = schema()["components"]["schemas"][described["$ref"].rpartition("/")[2]]
    return described


def with_nulls(described):
    """The plainest value that ``described`` admits, with null for each optional member."""
    described = resolve(described)
    if described.get("type") == "array":
        return [with_nulls(described["items"])]
    if "properties" not in described:
        return example(described)
    required = described.get("required", [])
    return {
        name: with_nulls(each) if name in required else None
        for name, each in described["properties"].items()
    }


def nullable(body):
    values = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return body is None or any(nullable(each) for each in values)


BODIES = {
    (method, path): operation["requestBody"]["content"]["application/json"]["schema"]
    for method, path, operation in operations()
    if "requestBody" in operation
}


@pytest.mark.parametrize(("method", "path"), sorted(BODIES))
def test_null_for_every_optional_member(api, bot, method, path):
    body = with_nulls(BODIES[method, path])
    document = {**BODIES[method, path], "components": schema()["components"]}
    jsonschema.validate(body, document)  # as it is published, too

    task, session = TaskFactory(agent=bot), SessionFactory(agent=bot)
    there = {"sessions": session, "approvals": the_approval(task)}
    address = path.replace("{id}", str(there.get(path.split("/")[1], task).pk))
    answer = api(bot).send(method, address, body, headers={"Idempotency-Key": "null"})
    # Who may not do it is refused once the body has been read.
    assert answer.status_code != 400, answer.content
    assert b'"code":"null"' not in answer.content


def test_there_are_such_members():
    assert sum(nullable(with_nulls(described)) for described in BODIES.values()) > 10


@pytest.mark.parametrize(("method", "path"), sorted(BODIES))
def test_null_for_a_required_member_is_refused(api, bot, method, path):
    described = resolve(BODIES[method, path])
    for name in described.get("required", []):
        if resolve(described["properties"][name]) == {}:
            continue
        task, session = TaskFactory(agent=bot), SessionFactory(agent=bot)
        there = {"sessions": session, "approvals": the_approval(task)}
        address = path.replace("{id}", str(there.get(path.split("/")[1], task).pk))
        body = example(described) | {name: None}
        answer = api(bot).send(method, address, body, headers={"Idempotency-Key": "null"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, name)


def test_what_was_absent_keeps_its_value(api, bot):
    session = SessionFactory(agent=bot, task_id="7", metadata={"a": 1})
    body = {"task_id": None, "status": "active", "metadata": None}
    assert api(bot).put(f"/sessions/{session.pk}", body).status_code == 200
    after = AgentSession.objects.get()
    assert (after.status, after.task_id, after.metadata) == ("active", "7", {"a": 1})


def test_what_was_absent_has_its_default(api, bot):
    task = {"task_type": "refund_approval", "description": None, "data": None}
    body = {"target": "finance", "task": task, "context": None, "on_behalf_of": None}
    answer = api(bot).post("/tasks/route", body, {"Idempotency-Key": "k"})
    assert answer.status_code == 202
    routed = Task.objects.get()
    assert (routed.description, routed.data, routed.context) == ("", {}, {})


@pytest.mark.parametrize("tool", sorted(schemas.ARGUMENTS))
def test_so_it_is_for_every_tool(tool):
    serializer = schemas.ARGUMENTS[tool]
    fields = serializer().fields
    given = {"task_id": "5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11"} if tool == "fetch_status" else {}
    values = {"task_id": "5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11", "task": {"task_type": "t"}}
    given |= {name: values.get(name, "x") for name, field in fields.items() if field.required}
    absent = serializer(data=given)
    absent.is_valid(raise_exception=True)
    null = serializer(data=dict.fromkeys(fields) | given)
    null.is_valid(raise_exception=True)
    assert null.validated_data == absent.validated_data
