"""One key, one effect, one answer: whatever happened in between."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from approvals_app.models import Approval
from audit_app.models import Event, RequestReceipt
from sessions_app import agents
from sessions_app.models import AgentSession, Task
from tests.factories import (
    OPS,
    AgentFactory,
    SessionFactory,
    TaskFactory,
    approve_task,
    set_columns,
    the_approval,
)

REFUND = {"target": "finance", "task": {"task_type": "refund_approval", "data": {"amount": "42"}}}
OPEN = {"agent_role": "support-agent"}


def key(text="order-1007"):
    return {"Idempotency-Key": text}


def same(first, second):
    """``second`` is ``first`` again, and says so."""
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (second.status_code, second.content) == (first.status_code, first.content)
    stored = RequestReceipt.objects.get(body=first.content.decode())
    answered_at = stored.created_at.isoformat().replace("+00:00", "Z")
    assert second.headers["Idempotent-Answered-At"] == answered_at
    assert "Idempotent-Answered-At" not in first.headers
    for name in ("Location", "ETag", "Content-Type"):
        assert second.headers.get(name) == first.headers.get(name)


def test_the_same_request_gets_the_same_answer_again(api, bot):
    first, second = (api(bot).post("/tasks/route", REFUND, key()) for _ in range(2))

    same(first, second)
    assert first.status_code == 202
    assert Task.objects.count() == 1


def test_the_answer_stays_whatever_happened_in_between(api, alice, bot):
    first = api(bot).post("/tasks/route", REFUND, key())
    approval = Approval.objects.get()
    digest = {"payload_digest": approval.payload_digest}
    api(user=alice).post(f"/approvals/{approval.pk}/approve", digest)

    same(first, api(bot).post("/tasks/route", REFUND, key()))
    assert first.json()["status"] == "awaiting_approval"


def test_each_answer_carries_its_own_trace_in_the_header(api, bot):
    first, second = (api(bot).post("/tasks/route", REFUND, key()) for _ in range(2))
    assert second.json()["trace_id"] == first.headers["X-Trace-Id"]
    assert second.headers["X-Trace-Id"] != first.headers["X-Trace-Id"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"task":{"data":{"amount":"42"},"task_type":"refund_approval"},"target":"finance"}',
        b'{"target": "finance",\n "task": {"task_type": "refund_approv\\u0061l",'
        b' "data": {"amount": "42"}}}',
    ],
)
def test_the_same_request_written_otherwise_is_the_same(api, bot, body):
    first = api(bot).post("/tasks/route", REFUND, key())
    same(first, api(bot).send("POST", "/tasks/route", body, headers=key()))


def test_another_request_under_the_key_is_refused(api, bot):
    api(bot).post("/tasks/route", REFUND, key())
    other = REFUND | {"target": "sre"}
    answer = api(bot).post("/tasks/route", other, key())

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert Task.objects.count() == 1


def test_another_session_header_makes_it_another_request(api, bot):
    session = SessionFactory(agent=bot)
    api(bot).post("/tasks/route", REFUND, key())
    given = key() | {"X-Session-Id": str(session.pk)}
    assert api(bot).post("/tasks/route", REFUND, given).status_code == 422


def test_the_key_is_its_callers_own(api, bot):
    other = AgentFactory()
    first = api(bot).post("/tasks/route", REFUND, key())
    second = api(other).post("/tasks/route", REFUND, key())

    assert second.status_code == 202
    assert "Idempotent-Replayed" not in second.headers
    assert first.json()["task_id"] != second.json()["task_id"]


def test_the_key_is_for_one_path_and_method(api, bot):
    opened = api(bot).post("/sessions", OPEN, key())
    routed = api(bot).post("/tasks/route", REFUND, key())
    path = f"/sessions/{opened.json()['session_id']}"
    put = api(bot).put(path, {"status": "active"}, key())

    assert (opened.status_code, routed.status_code, put.status_code) == (201, 202, 200)
    assert not any("Idempotent-Replayed" in answer.headers for answer in (opened, routed, put))
    same(opened, api(bot).post("/sessions", OPEN, key()))
    same(put, api(bot).put(path, {"status": "active"}, key()))


def test_quoted_and_bare_are_the_same_key(api, bot):
    first = api(bot).post("/tasks/route", REFUND, key("order-1007"))
    same(first, api(bot).post("/tasks/route", REFUND, key('"order-1007"')))


@pytest.mark.parametrize(
    "text", ["k" * 255, "!", "~", "a=b;c", '"two words"', "5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11"]
)
def test_any_visible_text_is_a_key(api, bot, text):
    first, second = (api(bot).post("/tasks/route", REFUND, key(text)) for _ in range(2))
    same(first, second)


@pytest.mark.parametrize(
    "text", ["", " ", "k" * 256, f'"{"k" * 256}"', "a\tb", "a\x01b", "a b", "é", '"é"']
)
def test_what_is_no_key_is_refused_by_name(api, bot, text):
    answer = api(bot).post("/tasks/route", REFUND, key(text))

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert not Task.objects.exists()


def test_a_task_is_not_routed_without_a_key(api, bot):
    answer = api(bot).post("/tasks/route", REFUND)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_elsewhere_the_key_may_be_left_out(api, bot):
    first, second = (api(bot).post("/sessions", OPEN) for _ in range(2))
    assert first.json()["session_id"] != second.json()["session_id"]
    assert not RequestReceipt.objects.exists()


def test_a_refusal_for_want_of_a_right_is_replayed(api, bot):
    body = {"agent_role": "king"}
    first = api(bot).post("/sessions", body, key())
    agents.change_agent(
        bot.pk, by=OPS, roles=["support-agent", "king"], owner_id=None, subject=None
    )
    second = api(bot).post("/sessions", body, key())

    assert first.status_code == 403
    same(first, second)
    assert not AgentSession.objects.exists()


def test_a_not_found_is_replayed(api, bot):
    path = "/tasks/5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11/cancel"
    first, second = (api(bot).post(path, {}, key()) for _ in range(2))
    assert first.status_code == 404
    same(first, second)


def test_a_conflict_is_replayed_though_it_would_work_now(api, alice, bot, payer):
    task = TaskFactory(agent=bot)
    path = f"/tasks/{task.pk}/claim"
    first = api(payer).post(path, {}, key())
    approval = the_approval(task)
    digest = {"payload_digest": approval.payload_digest}
    api(user=alice).post(f"/approvals/{approval.pk}/approve", digest)

    assert first.status_code == 409
    same(first, api(payer).post(path, {}, key()))
    assert api(payer).post(path, {}, key("another")).status_code == 200


def test_a_stale_version_is_replayed(api, bot):
    session = SessionFactory(agent=bot)
    given = key() | {"If-Match": '"7"'}
    path = f"/sessions/{session.pk}"
    first, second = (api(bot).put(path, {"status": "active"}, given) for _ in range(2))
    assert first.status_code == 412
    same(first, second)


def test_a_refusal_is_recorded_once(api, bot):
    task = TaskFactory(agent=AgentFactory(), target="support-agent")
    for _ in range(3):
        api(bot).post(f"/tasks/{task.pk}/cancel", {}, key())
    assert Event.objects.filter(event_type="operation.refused").count() == 1


def test_a_malformed_request_is_not_kept(api, bot):
    first = api(bot).post("/sessions", {"role": "x"}, key())
    second = api(bot).post("/sessions", OPEN, key())

    assert (first.status_code, second.status_code) == (400, 201)
    assert "Idempotent-Replayed" not in second.headers


def test_what_the_operation_finds_invalid_is_not_kept(api, bot):
    stranger = SessionFactory(agent=AgentFactory())
    given = key() | {"X-Session-Id": str(stranger.pk)}
    first, second = (api(bot).post("/tasks/route", REFUND, given) for _ in range(2))

    assert first.status_code == second.status_code == 400
    assert "Idempotent-Replayed" not in second.headers
    assert api(bot).post("/tasks/route", REFUND, key()).status_code == 202


def test_after_its_key_is_revoked_an_agent_gets_no_replay(api, bot):
    api(bot).post("/tasks/route", REFUND, key())
    agents.revoke_agent(bot.pk, by=OPS)
    answer = api(bot).post("/tasks/route", REFUND, key())

    assert answer.status_code == 401
    assert "Idempotent-Replayed" not in answer.headers


def test_an_unauthenticated_answer_is_not_kept(api, bot):
    assert api().post("/sessions", OPEN, key()).status_code == 401
    assert not RequestReceipt.objects.exists()
    assert api(bot).post("/sessions", OPEN, key()).status_code == 201


def test_who_lost_the_role_no_longer_gets_the_answer(api, alice, bot, payer):
    task = approve_task(TaskFactory(agent=bot), by=alice)
    path = f"/tasks/{task.pk}/claim"
    first = api(payer).post(path, {}, key())
    agents.change_agent(payer.pk, by=OPS, roles=["weather"], owner_id=None, subject=None)
    second = api(payer).post(path, {}, key())

    assert (first.status_code, second.status_code) == (200, 404)
    assert b"refund" not in second.content
    assert "Idempotent-Replayed" not in second.headers


def test_a_reviewer_who_lost_the_role_no_longer_gets_the_answer(api, alice, bot):
    approval = the_approval(TaskFactory(agent=bot))
    path, body = f"/approvals/{approval.pk}/approve", {"payload_digest": approval.payload_digest}
    first = api(user=alice).post(path, body, key())
    alice.groups.clear()
    second = api(user=User.objects.get(pk=alice.pk)).post(path, body, key())

    assert (first.status_code, second.status_code) == (200, 404)


def test_who_lost_the_role_no_longer_gets_a_refusal_either(api, alice, bob, bot):
    approval = the_approval(TaskFactory(agent=bot))
    path, body = f"/approvals/{approval.pk}/approve", {"payload_digest": approval.payload_digest}
    api(user=bob).post(path, body)
    first = api(user=alice).post(path, body, key())
    alice.groups.clear()
    second = api(user=User.objects.get(pk=alice.pk)).post(path, body, key())

    assert (first.status_code, second.status_code) == (409, 404)
    assert b"bob" not in second.content


def test_after_its_time_the_key_is_forgotten(api, bot, settings):
    first = api(bot).post("/sessions", OPEN, key())
    past = timezone.now() - timedelta(seconds=settings.IDEMPOTENCY_TTL_SECONDS + 1)
    RequestReceipt.objects.update(created_at=past)
    second = api(bot).post("/sessions", OPEN, key())

    assert second.status_code == 201
    assert "Idempotent-Replayed" not in second.headers
    assert first.json()["session_id"] != second.json()["session_id"]
    same(second, api(bot).post("/sessions", OPEN, key()))


def test_within_its_time_the_key_is_kept(api, bot, settings):
    first = api(bot).post("/sessions", OPEN, key())
    past = timezone.now() - timedelta(seconds=settings.IDEMPOTENCY_TTL_SECONDS - 60)
    RequestReceipt.objects.update(created_at=past)
    same(first, api(bot).post("/sessions", OPEN, key()))


def test_a_forgotten_key_does_not_make_a_second_task(api, bot, settings):
    api(bot).post("/tasks/route", REFUND, key())
    set_columns(RequestReceipt, created_at=timezone.now() - timedelta(days=30))
    answer = api(bot).post("/tasks/route", REFUND, key())

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert Task.objects.count() == 1


def test_a_decision_is_replayed_to_the_person_who_made_it(api, alice, bob, bot):
    approval = the_approval(TaskFactory(agent=bot))
    path, body = f"/approvals/{approval.pk}/approve", {"payload_digest": approval.payload_digest}
    first = api(user=alice).post(path, body, key())

    same(first, api(user=alice).post(path, body, key()))
    other = api(user=bob).post(path, body, key())
    assert other.status_code == 409
    assert "Idempotent-Replayed" not in other.headers
