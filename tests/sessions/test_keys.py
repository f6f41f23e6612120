"""API keys: shown once, kept as a hash, rotated and revoked."""

import hashlib
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from audit_app.base.actors import Actor
from audit_app.models import Event
from sessions_app import agents
from sessions_app.errors import AdministratorsOnly, AgentRevoked, NameTaken
from sessions_app.models import Agent, AgentKey, Task
from sessions_app.tasks import operations as task_operations
from tests.client import Api
from tests.database import without_guards
from tests.factories import OPS, AgentFactory, TaskFactory, approve_task, the_approval


def is_accepted(key):
    answer = Api(Authorization=f"Bearer {key}").get("/sessions")
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


def test_only_the_hash_of_a_key_is_kept(bot):
    kept = AgentKey.objects.get()
    assert kept.hash == hashlib.sha256(bot.key.encode()).hexdigest()
    assert bot.key.startswith(kept.prefix)
    assert len(kept.prefix) <= 12 < len(bot.key)
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(
                f"SELECT count(*) FROM {table} AS r WHERE r::text LIKE %s", [f"%{bot.key}%"]
            )
            assert cursor.fetchone() == (0,)


@pytest.mark.parametrize("key", ["ork_unknown", "ork_", "ork_é", "", "nonsense", "a.b.c"])
def test_an_unknown_key_is_refused_with_a_challenge(api, key):
    answer = Api(Authorization=f"Bearer {key}").get("/sessions")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == (
        'Bearer realm="orchestrator", error="invalid_token"'
    )
    assert key == "" or key not in answer.json()["detail"]


def test_a_key_is_not_taken_from_anywhere_else(bot):
    assert Api(Authorization=f"Basic {bot.key}").get("/sessions").status_code == 401
    assert Api(Authorization=bot.key).get("/sessions").status_code == 401
    assert Api().get("/sessions", key=bot.key).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_schemes_case_does_not_matter(bot, scheme):
    assert Api(Authorization=f"{scheme} {bot.key}").get("/sessions").status_code == 200


def test_the_last_use_is_kept_to_the_minute(bot):
    assert AgentKey.objects.get().last_used_at is None
    assert is_accepted(bot.key)
    first = AgentKey.objects.get().last_used_at
    assert is_accepted(bot.key)
    assert AgentKey.objects.get().last_used_at == first
    AgentKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    assert is_accepted(bot.key)
    assert AgentKey.objects.get().last_used_at >= first


def test_a_refused_key_is_not_used(bot):
    agents.revoke_agent(bot.pk, by=OPS)
    assert not is_accepted(bot.key)
    assert AgentKey.objects.get().last_used_at is None


def test_a_rotated_key_ends_at_once(bot):
    new = agents.rotate_key(bot.pk, by=OPS)
    assert is_accepted(new.text)
    assert not is_accepted(bot.key)


def test_a_key_rotated_with_an_overlap_goes_on_until_its_end(bot):
    new = agents.rotate_key(bot.pk, by=OPS, overlap=timedelta(hours=1))
    assert is_accepted(new.text)
    assert is_accepted(bot.key)
    with without_guards() as cursor:
        cursor.execute("UPDATE agent_keys SET revoked_at = now() WHERE revoked_at IS NOT NULL")
    assert not is_accepted(bot.key)
    assert is_accepted(new.text)


def test_an_overlap_is_not_prolonged_by_the_next_rotation(bot):
    agents.rotate_key(bot.pk, by=OPS, overlap=timedelta(hours=1))
    end = AgentKey.objects.get(prefix=bot.key[:12]).revoked_at
    agents.rotate_key(bot.pk, by=OPS, overlap=timedelta(hours=5))
    assert AgentKey.objects.get(prefix=bot.key[:12]).revoked_at == end


def test_revoking_an_agent_ends_all_its_keys(bot):
    new = agents.rotate_key(bot.pk, by=OPS, overlap=timedelta(hours=1))
    agents.revoke_agent(bot.pk, by=OPS)
    assert not is_accepted(bot.key)
    assert not is_accepted(new.text)
    assert Agent.objects.get().status == "revoked"


def test_revoking_an_agent_takes_back_what_nobody_has_begun(alice, bot, payer):
    waiting, agreed, begun = TaskFactory.create_batch(3, agent=bot)
    approve_task(agreed, by=alice)
    approve_task(begun, by=alice)
    task_operations.claim(begun.pk, by=payer.as_actor(), lease=timedelta(minutes=5))
    agents.revoke_agent(bot.pk, by=OPS)
    left = dict(Task.objects.values_list("pk", "status"))
    assert left == {waiting.pk: "cancelled", agreed.pk: "cancelled", begun.pk: "claimed"}
    assert the_approval(waiting).status == "withdrawn"


def test_a_revoked_agent_stays_revoked(bot):
    agents.revoke_agent(bot.pk, by=OPS)
    for again in (agents.revoke_agent, agents.rotate_key):
        with pytest.raises(AgentRevoked):
            again(bot.pk, by=OPS)


def test_the_trail_tells_of_keys_without_telling_them(bot):
    agents.rotate_key(bot.pk, by=OPS)
    agents.revoke_agent(bot.pk, by=OPS)
    story = Event.objects.filter(subject_id=bot.pk)
    assert [event.event_type for event in story] == [
        "identity.created",
        "key.issued",
        "key.revoked",
        "key.issued",
        "key.revoked",
        "identity.revoked",
    ]
    assert not story.filter(entry__contains=bot.key).exists()
    assert story[2].metadata["prefixes"] == [bot.key[:12]]


def test_two_agents_have_two_names(bot):
    with pytest.raises(NameTaken):
        AgentFactory(name="bot")
    assert Agent.objects.count() == AgentKey.objects.count() == 1


def test_agents_and_reviewers_issue_no_keys(alice, bot):
    for by in (bot.as_actor(), Actor.human(alice)):
        for operation in (agents.rotate_key, agents.revoke_agent):
            with pytest.raises(AdministratorsOnly):
                operation(bot.pk, by=by)
        with pytest.raises(AdministratorsOnly):
            agents.create_agent("minion", by=by, roles=["finance"])
    assert is_accepted(bot.key)


def test_new_roles_count_from_the_next_request(api, bot):
    body = {"agent_role": "billing"}
    assert api(bot).post("/sessions", body).status_code == 403
    agents.change_agent(bot.pk, by=OPS, roles=["billing"], owner_id=None, subject=None)
    assert api(bot).post("/sessions", body).status_code == 201
