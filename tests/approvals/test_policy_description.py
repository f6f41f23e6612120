"""What a policy does, in one sentence."""

from datetime import timedelta

import pytest

from approvals_app.policy.description import (
    describe_length,
    describe_match,
    describe_policy,
)
from approvals_app.policy.language import Policy

pytestmark = pytest.mark.pure
TWO_AND_ONE = [{"role": "finance", "count": 2}, {"role": "legal"}]

# members of the policy | the sentence
SENTENCES = [
    (
        {"approvals": TWO_AND_ONE, "deadline": "24h"},
        "Asks 2 of finance and 1 of legal, 24 h, then rejects.",
    ),
    ({"approvals": [{"role": "$to_role"}]}, "Asks 1 of the target group, 7 d, then rejects."),
    (
        {
            "approvals": [*TWO_AND_ONE, {"role": "sre"}],
            "deadline": "90m",
            "escalate": [
                {"role": "dba", "deadline": "30m"},
                {"role": "$to_role", "count": 2, "deadline": "2d"},
            ],
            "on_timeout": "approve_without_a_human",
        },
        "Asks 2 of finance, 1 of legal and 1 of sre, 90 min, then 1 of dba, 30 min, "
        "then 2 of the target group, 2 d, then approves without a human.",
    ),
    (
        {
            "approvals": [{"role": "finance"}],
            "deadline": "45s",
            "deny_threshold": 2,
            "look_for": "20s",
            "type_out": "data.amount",
            "risk": "high",
        },
        "Asks 1 of finance, 45 s, then rejects. 2 rejections end it. "
        "Approvers look for 20 s and type data.amount. High risk.",
    ),
    ({"then": "approve"}, "Approves without a human."),
    ({"then": "refuse"}, "Refuses."),
]


@pytest.mark.parametrize(("members", "sentence"), SENTENCES)
def test_what_a_policy_does(members, sentence, settings):
    settings.APPROVAL_TTL = timedelta(days=7)
    assert describe_policy(Policy.parse({"name": "x", "then": "require"} | members)) == sentence


# the document's ``when`` | the words
MATCHES = [
    ({}, "any task"),
    ({"task_type": "refund*"}, "refund*"),
    ({"to_role": "finance", "from_role": "support-*"}, "any task from support-* to finance"),
    ({"task_type": "wire", "condition": "data.a > 1"}, "wire, where data.a > 1"),
]


@pytest.mark.parametrize(("when", "words"), MATCHES)
def test_what_a_policy_matches(when, words):
    assert describe_match(Policy.parse({"name": "x", "then": "refuse", "when": when})) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 s"), (60, "1 min"), (5_400, "90 min"), (3_600, "1 h"), (86_400, "24 h"),
     (172_800, "2 d"), (90_000, "25 h"), (604_800, "7 d")],
)  # fmt: skip
def test_a_length_of_time(seconds, words):
    assert describe_length(timedelta(seconds=seconds)) == words
