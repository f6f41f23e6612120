"""Two agents want the same task: one gets it, the other is told."""

from functools import partial

from audit_app.models import Event
from sessions_app.models import Task
from tests.factories import AgentFactory, TaskFactory, approve_task
from tests.races.together import together

ROUNDS = 50


def test_one_of_two_agents_gets_the_task(api, alice, bot, payer):
    rival = AgentFactory(name="rival", roles=["finance"])
    for _ in range(ROUNDS):
        task = approve_task(TaskFactory(agent=bot), by=alice)
        path = f"/tasks/{task.pk}/claim"
        answers = together([partial(api(agent).post, path) for agent in (payer, rival)])

        assert sorted(answer.status_code for answer in answers) == [200, 409]
        lost = next(answer for answer in answers if answer.status_code == 409)
        assert lost.json()["code"] == "task_taken"
        won = (payer, rival)[[answer.status_code for answer in answers].index(200)]
        assert Task.objects.get(pk=task.pk).claimed_by_id == won.pk
    assert Event.objects.filter(event_type="task.claimed").count() == ROUNDS


def test_eight_claims_of_one_agent_are_one_claim(api, alice, bot, payer):
    task = approve_task(TaskFactory(agent=bot), by=alice)
    answers = together([partial(api(payer).post, f"/tasks/{task.pk}/claim") for _ in range(8)])

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert Event.objects.filter(event_type="task.claimed").count() == 1
