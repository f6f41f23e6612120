"""Operators freeze and thaw."""

import pytest

from sessions_app.models import Freeze
from tests.commands.conftest import expect_failure, run_for_output

WHY = ("--reason", "It pays twice.")


def test_a_freeze_is_begun_listed_and_lifted(bot, run):
    assert run_for_output("freeze", "--agent", "bot", *WHY) == "Agent bot is frozen.\n"
    (listed,) = run("freeze")["freezes"]
    assert (listed["scope"], listed["agent"], listed["reason"]) == ("agent", "bot", WHY[1])
    assert run_for_output("freeze").startswith("Agent bot, since ")
    assert run_for_output("thaw", "--agent", "bot") == (
        "Agent bot: the freeze is lifted. Nothing is frozen now.\n"
    )
    assert run_for_output("freeze") == "Nothing is frozen.\n"


def test_thawing_is_in_stages(bot, run):
    run_for_output("freeze", "--everything", *WHY)
    run_for_output("freeze", "--role", "support-agent", *WHY)
    assert run_for_output("thaw", "--everything", "--reason", "Repaired.") == (
        "Everything: the freeze is lifted. Still frozen: Role support-agent.\n"
    )
    assert run("thaw", "--role", "support-agent")["still_frozen"] == []
    assert set(Freeze.objects.values_list("status", flat=True)) == {"lifted"}


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["freeze", "--everything"], "Say why: --reason TEXT."),
        (["freeze", "--agent", "nobody", *WHY], "No such agent, or the caller may not see it."),
        (["freeze", "--role", "nobodys", *WHY], "No such role, or the caller may not see it."),
        (["thaw"], "Say what to thaw: --agent NAME, --role ROLE or --everything."),
        (
            ["thaw", "--everything"],
            "There is no such freeze. `freeze` without a target lists them.",
        ),
    ],
)
def test_what_is_not_possible_is_said_in_one_sentence(bot, command, sentence):
    assert expect_failure(*command)[1] == sentence


def test_a_target_is_frozen_once(bot):
    run_for_output("freeze", "--everything", *WHY)
    assert expect_failure("freeze", "--everything", *WHY)[1] == "Everything is frozen already."
