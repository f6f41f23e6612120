"""A prepared queryset finds what the queryset finds, whoever asks."""

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals_app.api.reads import read_approvals
from audit_app.base.actors import Actor, Assurance, with_standing
from audit_app.base.errors import NotFound
from audit_app.base.prepared import Prepared
from sessions_app.models import Agent, AgentSession, Task
from tests.factories import AgentFactory, ReviewerFactory, SessionFactory, TaskFactory, the_approval

LOOKS_AT_AGENTS = "sessions_app.view_agent"


@pytest.fixture
def people(bot, alice, bob):
    """Everybody who may or may not know of a task of the bot's that finance is asked about."""
    auditor = Actor.system("a test")
    strangers = [
        AgentFactory(name="stranger", roles=["other"]).as_actor(),
        AgentFactory(name="payer", roles=["finance", "other"]).as_actor(),
        Actor.human(ReviewerFactory(username="dora", roles=[])),
        Actor.human(ReviewerFactory(username="emil", roles=["legal", "other"])),
    ]
    return [bot.as_actor(), Actor.human(alice), Actor.human(bob), auditor, *strangers]


def find_visible(rows, actor, pk):
    return rows.visible_to(actor).filter(pk=pk).first()


def state(row):
    """How Django knows it, but for the rows that it leads to."""
    return {name: value for name, value in vars(row._state).items() if name != "fields_cache"}


@pytest.mark.parametrize("model", [Task, AgentSession, Agent])
def test_everybody_knows_what_they_may_see(people, bot, model):
    task = TaskFactory(agent=bot, session_id=SessionFactory(agent=bot).pk)
    pk = {Task: task.pk, AgentSession: task.session_id, Agent: bot.pk}[model]
    found = []
    for _ in range(2):  # the second time it is prepared
        for actor in people:
            try:
                found.append(model.objects.get_visible(actor, pk))
            except NotFound:
                found.append(None)
    expected = [find_visible(model.objects, actor, pk) for actor in people] * 2
    assert found == expected
    assert None in found
    assert any(found)
    for row in filter(None, found):
        assert state(row) == state(expected[0])
        assert vars(row).items() >= {
            (field.attname, getattr(expected[0], field.attname))
            for field in model._meta.concrete_fields
            if field.get_internal_type() not in ("JSONField", "ArrayField")
        }


def test_a_task_has_its_approvals_and_no_others(bot, alice):
    tasks = [TaskFactory(agent=bot) for _ in range(3)]
    read_approvals(tasks)
    with CaptureQueriesContext(connection) as sent:
        assert [list(task.approvals.all()) for task in tasks] == [[the_approval(t)] for t in tasks]
        assert [a.votes_cast for task in tasks for a in task.approvals.all()] == [[], [], []]
        assert [a.decided_by for task in tasks for a in task.approvals.all()] == [None] * 3
    assert not sent.captured_queries[3:]  # the_approval's own


def test_lists_of_any_length(bot):
    ids = [TaskFactory(agent=bot).pk for _ in range(3)]
    among = Prepared(lambda ids: Task.objects.filter(pk__in=ids).order_by("created_at", "id"))
    for wanted in (ids, ids[:1], [], ids[1:], ids[:2]):
        assert [task.pk for task in among(ids=wanted)] == wanted


def test_none_is_a_query_of_its_own(bot):
    task = TaskFactory(agent=bot, session_id=SessionFactory(agent=bot).pk)
    without = TaskFactory(agent=bot)
    of = Prepared(lambda session: Task.objects.filter(session=session))
    for _ in range(2):
        assert (of(session=None), of(session=task.session_id)) == ([without], [task])


def test_values_instead_of_rows(bot):
    names = Prepared(lambda pk: Agent.objects.filter(pk=pk).values_list("pk", "name", "roles"))
    assert names(pk=bot.pk) == [(bot.pk, bot.name, bot.roles)]


def test_what_rows_are_annotated_with(bot, alice):
    people = Prepared(lambda pk: with_standing(User.objects.filter(pk=pk)))
    for _ in range(2):
        (found,) = people(pk=alice.pk)
        assert (found, found.group_names, found.rights_given) == (alice, ["finance"], [])


@pytest.mark.parametrize(
    "build",
    [
        lambda name: Agent.objects.filter(name__contains=name),
        lambda name: Agent.objects.filter(name=name.upper() + "!"),
        lambda name: Agent.objects.all(),
    ],
)
def test_a_value_that_does_not_come_out_as_it_went_in_is_refused(bot, build):
    with pytest.raises(TypeError, match="prepared"):
        Prepared(build)(name="bot")


def test_what_a_value_can_not_be(bot):
    with pytest.raises(TypeError, match="dict"):
        Prepared(lambda name: Agent.objects.filter(name=name))(name={})


def test_a_rule_may_ask_for_rights(bot, alice):
    """Two people of one shape otherwise: only one of them has the right."""
    bea = ReviewerFactory(username="beatrix", roles=["finance"])
    bea.user_permissions.set(Permission.objects.filter(codename="view_agent"))

    def build(actor):
        return Agent.objects.all() if LOOKS_AT_AGENTS in actor.rights else Agent.objects.none()

    prepared = Prepared(build)
    for _ in range(2):
        for person, found in ((alice, []), (bea, [bot])):
            actor = Actor.human(person)
            assert prepared(actor) == list(build(actor)) == found


@pytest.mark.parametrize(
    "rule",
    [
        lambda actor: actor.assurance.second_factor,
        lambda actor: actor.assurance == Assurance(),
        lambda actor: "finance" in actor.roles,
        lambda actor: actor == Actor.human(User.objects.get()),
    ],
)
def test_a_rule_that_asks_what_is_not_prepared_for_is_refused(bot, alice, rule):
    """It would find for everybody what it finds for nobody."""
    prepared = Prepared(
        lambda actor: Agent.objects.filter(pk=bot.pk) if rule(actor) else Agent.objects.none()
    )
    with pytest.raises(TypeError, match="prepared"):
        prepared(Actor.human(alice))


def test_a_connection_plans_it_once(bot):
    named = Prepared(lambda name: Agent.objects.filter(name=name))
    before = prepared_statements()
    for _ in range(3):
        assert named(name=bot.name) == [bot]
    assert prepared_statements() == before + 1


def prepared_statements():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        return cursor.fetchone()[0]
