"""A caller that asks too much waits; others do not wait for it."""

from orchestrator.api.throttling import CallerThrottle
from sessions_app.models import Task


def test_too_many_requests_of_one_caller_are_429_and_nothing_is_kept(api, bot, payer, settings):
    settings.RATE_LIMIT_PER_MINUTE = 2
    CallerThrottle._counted.clear()
    request = api(bot, **{"Idempotency-Key": "k"})
    asked = {"target": "finance", "task": {"task_type": "notification"}}
    assert [api(bot).get("/tasks").status_code for _ in range(2)] == [200, 200]

    answer = request.post("/tasks/route", asked)

    assert (answer.status_code, answer.json()["code"]) == (429, "throttled")
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert not Task.objects.exists()
    assert api(payer).get("/tasks").status_code == 200
    settings.RATE_LIMIT_PER_MINUTE = 0
    assert request.post("/tasks/route", asked).status_code == 202
