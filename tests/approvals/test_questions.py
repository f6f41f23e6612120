"""Questions to a human: a form in, an answer out."""

import pytest

from approvals_app.models import Approval, Vote
from sessions_app.models import Task
from tests.factories import TaskFactory

pytestmark = pytest.mark.usefixtures("whole")

FORM = {
    "type": "object",
    "required": ["account"],
    "properties": {
        "account": {"type": "string", "enum": ["main", "reserve"], "title": "Account"},
        "limit": {"type": "integer", "minimum": 1},
        "rate": {"type": "number"},
        "urgent": {"type": "boolean"},
    },
}


def ask(api, bot, data, task_type="question"):
    body = {"target": "finance", "task": {"task_type": task_type, "data": data}}
    return api(bot).post("/tasks/route", body, headers={"Idempotency-Key": "k"})


@pytest.fixture
def approval(api, bot):
    answer = ask(api, bot, {"question": "Which account?", "schema": FORM})
    return Approval.objects.get(task=answer.json()["task_id"])


def code(answer):
    return answer.status_code, answer.json()["code"]


def test_the_answer_comes_with_the_decision(api, bot, approval, say, alice):
    answer = {"account": "main", "limit": 100, "urgent": True}
    assert say(alice, "approve", approval, answer=answer).json()["status"] == "approved"
    seen = api(bot).get(f"/tasks/{approval.task_id}").json()
    assert seen["status"] == "approved"
    assert seen["approvals"][0]["votes"][0]["answer"] == answer


def test_a_question_without_a_form_is_answered_with_a_text(api, bot, say, alice):
    ask(api, bot, {"question": "Why?"}, "tax_question")
    approval = Approval.objects.get()
    assert code(say(alice, "approve", approval, answer={"x": 1})) == (400, "answer_invalid")
    assert code(say(alice, "approve", approval, answer="")) == (400, "answer_invalid")
    assert say(alice, "approve", approval, answer="Because.").status_code == 200
    assert Vote.objects.get().answer == "Because."


@pytest.mark.parametrize(
    "answer",
    [
        {"account": "theirs"},
        {"limit": 5},
        {"account": "main", "limit": 0},
        {"account": "main", "limit": "5"},
        {"account": "main", "more": 1},
        "main",
        [],
        True,
    ],
)
def test_an_answer_is_what_the_form_asks_for(approval, say, alice, answer):
    refused = say(alice, "approve", approval, answer=answer)
    assert code(refused) == (400, "answer_invalid")
    assert refused.json()["errors"][0]["field"].startswith("answer")
    assert not Vote.objects.exists()


def test_a_question_is_not_approved_without_an_answer(approval, say, alice):
    assert code(say(alice, "approve", approval)) == (400, "answer_required")
    assert say(alice, "reject", approval, notes="Not ours.").json()["status"] == "rejected"


def test_what_is_no_question_takes_no_answer(bot, say, alice):
    approval = Approval.objects.get(task=TaskFactory(agent=bot))
    assert code(say(alice, "approve", approval, answer="Yes.")) == (400, "answer_invalid")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "task.data.question"),
        ({"question": " "}, "task.data.question"),
        ({"question": 7}, "task.data.question"),
        ({"question": "?", "schema": []}, "task.data.schema"),
        ({"question": "?", "schema": {"type": "string"}}, "task.data.schema"),
        ({"question": "?", "schema": {"$ref": "http://x/"}}, "task.data.schema"),
        (
            {"question": "?", "schema": {"type": "object", "properties": {}}},
            "task.data.schema.properties",
        ),
        (
            {"question": "?", "schema": FORM | {"required": ["nothing"]}},
            "task.data.schema.required",
        ),
        (
            {
                "question": "?",
                "schema": {
                    "type": "object",
                    "properties": {"a": {"type": "string", "pattern": "(a+)+$"}},
                },
            },
            "task.data.schema.properties.a",
        ),
    ],
)
def test_a_form_that_can_not_be_shown_is_refused(api, bot, data, field):
    answer = ask(api, bot, data)
    assert code(answer) == (400, "question_invalid")
    assert answer.json()["errors"][0]["field"] == field
    assert not Task.objects.exists()


def test_the_page_shows_the_form_and_takes_the_answer(client, approval, alice):
    client.force_login(alice)
    page = f"/admin/approvals_app/approval/{approval.pk}/change/"
    shown = client.get(page).content.decode()
    assert "Which account?" in shown
    assert "Send answer" in shown
    sent = {"decision": "approve", "payload_digest": approval.payload_digest}
    assert client.post(page, sent).status_code == 400
    sent |= {"answer.account": "reserve", "answer.limit": "12", "answer.rate": "0.5"}
    assert client.post(page, sent).status_code == 302
    assert Vote.objects.get().answer == {
        "account": "reserve",
        "limit": 12,
        "rate": 0.5,
        "urgent": False,
    }
