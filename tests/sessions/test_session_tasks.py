"""The tasks of a session: what it routed, claimed, or says that it works on."""

from tests.factories import AgentFactory, SessionFactory, TaskFactory, approve_task

REFUND = {"target": "finance", "task": {"task_type": "refund_approval"}}


def tasks_of(api, caller, session):
    answer = api(caller).get(f"/sessions/{session.pk}/tasks")
    assert answer.status_code == 200
    assert answer.json()["total"] == len(answer.json()["tasks"])
    return [task["task_id"] for task in answer.json()["tasks"]]


def test_a_task_that_was_sent_three_times_is_one_row(api, bot):
    session = SessionFactory(agent=bot)
    headers = {"Idempotency-Key": "order-1007", "X-Session-Id": str(session.pk)}
    sent = {api(bot).post("/tasks/route", REFUND, headers).json()["task_id"] for _ in range(3)}
    assert tasks_of(api, bot, session) == list(sent)


def test_tasks_under_different_keys_are_different_rows(api, bot):
    session = SessionFactory(agent=bot)
    tasks = [TaskFactory(agent=bot, session_id=session.pk) for _ in range(3)]
    TaskFactory(agent=bot)
    assert tasks_of(api, bot, session) == [str(task.pk) for task in reversed(tasks)]


def test_what_the_session_claimed_is_its_task(api, alice, bot, payer):
    task = approve_task(TaskFactory(agent=bot), by=alice)
    session = SessionFactory(agent=payer)
    headers = {"X-Session-Id": str(session.pk)}
    api(payer).post(f"/tasks/{task.pk}/claim", {}, headers)
    assert tasks_of(api, payer, session) == [str(task.pk)]


def test_what_the_session_says_it_works_on_is_its_task(api, bot, payer):
    task = TaskFactory(agent=bot)
    session = SessionFactory(agent=payer, task_id=str(task.pk))
    assert tasks_of(api, payer, session) == [str(task.pk)]


def test_a_reference_of_the_agents_own_is_no_task(api, bot):
    session = SessionFactory(agent=bot, task_id="ticket 7")
    assert tasks_of(api, bot, session) == []


def test_to_name_a_strangers_task_does_not_show_it(api, bot):
    hidden = TaskFactory(agent=AgentFactory())
    session = SessionFactory(agent=bot, task_id=str(hidden.pk))
    assert tasks_of(api, bot, session) == []


def test_a_strangers_session_is_not_there(api, bot):
    session = SessionFactory(agent=AgentFactory())
    assert api(bot).get(f"/sessions/{session.pk}/tasks").status_code == 404


def test_the_list_can_be_searched_and_paged(api, bot):
    session = SessionFactory(agent=bot)
    for target in ("finance", "finance", "sre"):
        TaskFactory(agent=bot, session_id=session.pk, target=target)
    get = api(bot).get
    path = f"/sessions/{session.pk}/tasks"
    assert get(path, to_role="sre").json()["total"] == 1
    assert len(get(path, page_size=2, page=2).json()["tasks"]) == 1
    assert get(path, state="x").status_code == 400
