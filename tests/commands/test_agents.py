"""Operators create agents, change their keys and end them."""

import re

import pytest

from audit_app.base.canonical import digest
from audit_app.models import Event
from sessions_app.models import Agent, AgentKey
from tests.client import Api
from tests.commands.conftest import expect_failure, run_for_output


class Caller:
    """An agent of which only the key is known."""

    def __init__(self, key):
        self.key = key


def is_accepted(key):
    return Api(Caller(key)).get("/sessions").status_code == 200


def test_the_key_of_a_new_agent_is_shown_once_on_a_line_of_its_own(alice):
    out = run_for_output(
        "create_agent", "bot", "--role", "support-agent", "--role", "ops", "--owner", "alice"
    )

    [key] = re.findall(r"^key: (ork_\S+)$", out, re.MULTILINE)
    assert is_accepted(key)
    agent = Agent.objects.get(name="bot")
    assert (agent.roles, agent.owner) == (["support-agent", "ops"], alice)
    assert AgentKey.objects.get(agent=agent).hash == digest(key)
    assert key not in "".join(Event.objects.values_list("entry", flat=True))
    assert Event.objects.first().actor == "system:create_agent"


def test_a_script_reads_the_same_as_json(run):
    made = run("create_agent", "bot", "--role", "support-agent", "--subject", "bot@issuer")

    agent = Agent.objects.get()
    assert made.pop("key").startswith("ork_")
    assert made == {"agent_id": str(agent.pk), "name": "bot", "roles": ["support-agent"]}
    assert agent.subject == "bot@issuer"


def test_a_name_is_given_once(bot):
    assert expect_failure("create_agent", "bot", "--role", "ops") == (
        "",
        "An agent named bot already exists.",
    )
    assert Agent.objects.count() == 1


def test_an_owner_must_be_a_user():
    assert expect_failure("create_agent", "bot", "--role", "ops", "--owner", "nobody") == (
        "",
        "There is no user called nobody.",
    )
    assert not Agent.objects.exists()


@pytest.mark.parametrize("named", ["", "  ", "x" * 151, "a\nb"])
def test_a_name_is_printable_and_not_too_long(named):
    _, sentence = expect_failure("create_agent", named, "--role", "ops")

    assert "A name has 1 to 150 printable characters." in sentence


def test_a_rotated_key_ends_at_once(bot, run):
    rotated = run("rotate_agent_key", "bot")

    assert is_accepted(rotated["key"])
    assert not is_accepted(bot.key)


def test_with_an_overlap_both_keys_work_for_a_while(bot, tamper):
    out = run_for_output("rotate_agent_key", "bot", "--overlap", "1h")

    [key] = re.findall(r"^key: (ork_\S+)$", out, re.MULTILINE)
    assert is_accepted(bot.key)
    assert is_accepted(key)
    tamper(
        "UPDATE agent_keys SET revoked_at = revoked_at - interval '61 minutes' WHERE hash = %s",
        digest(bot.key),
    )
    assert not is_accepted(bot.key)
    assert is_accepted(key)


def test_a_revoked_agent_and_its_keys_are_refused(bot, run):
    revoked = run("revoke_agent", "bot")

    assert revoked == {"agent_id": str(bot.pk), "name": "bot", "status": "revoked"}
    assert not is_accepted(bot.key)
    assert expect_failure("revoke_agent", "bot") == ("", "The agent bot is revoked.")
    assert expect_failure("rotate_agent_key", "bot") == ("", "The agent bot is revoked.")
    assert run("verify_audit")["whole"]


def test_why_an_agent_was_revoked_is_kept(bot, run):
    run("revoke_agent", "bot", "--reason", "Its host was broken into.")
    event = Event.objects.get(event_type="identity.revoked")
    assert event.metadata["reason"] == "Its host was broken into."


@pytest.mark.parametrize("command", ["rotate_agent_key", "revoke_agent"])
def test_an_unknown_agent_is_one_sentence(command):
    assert expect_failure(command, "nobody") == ("", "There is no agent called nobody.")


def test_a_refusal_is_one_line_on_stderr_and_nothing_else(bot, manage):
    process = manage("create_agent", "bot", "--role", "ops", "--format", "json")
    out, err = process.communicate(timeout=30)

    assert (process.returncode, out) == (1, "")
    assert err == "CommandError: An agent named bot already exists.\n"
