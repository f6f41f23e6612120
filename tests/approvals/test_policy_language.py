"""Policies: which one speaks for a task, what it says and in which words."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from approvals_app.policy.language import (
    LONGEST_DURATION,
    Escalation,
    Policy,
    Requirement,
    RuleInvalid,
    asks_by_itself,
    evaluate,
    format_duration,
    matches,
)
from audit_app.base.durations import parse_duration
from sessions_app.gate import Outcome
from tests.approvals import reference

pytestmark = pytest.mark.pure

REFUND = {
    "agent": "support-bot",
    "from_role": "support-agent",
    "to_role": "finance",
    "task_type": "refund_approval",
    "description": "Refund 249.90 EUR for order 2026-118204.",
    "data": {"amount": "249.90", "currency": "EUR", "lines": [{"quantity": 1}], "count": 3},
    "context": {"model": "support-bot 3.2"},
}
REPORT = REFUND | {"task_type": "weekly_report", "data": {"pages": 4}}
FINANCE = [{"role": "finance", "count": 1}]


def policy(then="require", **more):
    """The document of a policy; who is asked is finance where nothing else is said."""
    when = {
        name: more.pop(name)
        for name in ("task_type", "from_role", "to_role", "condition")
        if name in more
    }
    asked = {"approvals": FINANCE} if then == "require" else {}
    return {"name": "one", "when": when, "then": then, **asked, **more}


def evaluate_documents(policies, task=REFUND, default="require"):
    return evaluate([Policy.parse(document) for document in policies], task, default)


def asks(*pairs):
    return [{"role": role, "count": count} for role, count in pairs]


APPROVES = "Policy one approves this without a human"
REFUSES = "Policy one refuses this"
ASKS = "Policy one needs 1 approval from finance"
NO_POLICY = "No policy matches"
BY_TYPE = f"{NO_POLICY}; refund_approval tasks always need a human: 1 approval from finance."

# what it says | the policy | the words
ONE_POLICY = [
    # Every task.
    ("require", policy(), f"{ASKS}."),
    ("approve", policy("approve"), f"{APPROVES}."),
    ("refuse", policy("refuse"), f"{REFUSES}."),
    # By its type.
    ("approve", policy("approve", task_type="refund_approval"), f"{APPROVES}."),
    ("approve", policy("approve", task_type="refund*"), f"{APPROVES}."),
    ("approve", policy("approve", task_type="*_approval"), f"{APPROVES}."),
    ("approve", policy("approve", task_type="*fund*app*"), f"{APPROVES}."),
    ("approve", policy("approve", task_type="r?f?nd_approval"), f"{APPROVES}."),
    ("approve", policy("approve", task_type="**"), f"{APPROVES}."),
    ("require", policy("approve", task_type="refund"), BY_TYPE),
    ("require", policy("approve", task_type="approval"), BY_TYPE),
    ("require", policy("approve", task_type="Refund_approval"), BY_TYPE),
    ("require", policy("approve", task_type="refund_approval?"), BY_TYPE),
    ("require", policy("approve", task_type="?refund_approval"), BY_TYPE),
    ("require", policy("approve", task_type="refund[_]approval"), BY_TYPE),
    ("require", policy("approve", task_type="refund.approval"), BY_TYPE),
    # By who asks and whom.
    ("approve", policy("approve", from_role="support-agent"), f"{APPROVES}."),
    ("approve", policy("approve", from_role="support-*"), f"{APPROVES}."),
    ("require", policy("approve", from_role="finance"), BY_TYPE),
    ("approve", policy("approve", to_role="finance"), f"{APPROVES}."),
    ("approve", policy("approve", to_role="f*e"), f"{APPROVES}."),
    ("require", policy("approve", to_role="legal"), BY_TYPE),
    ("require", policy("approve", task_type="refund*", to_role="legal"), BY_TYPE),
    ("require", policy("approve", from_role="x*", to_role="finance"), BY_TYPE),
    # By what is asked for.
    ("approve", policy("approve", condition="true"), f"{APPROVES}: true holds."),
    ("require", policy("approve", condition="false"), BY_TYPE),
    (
        "approve",
        policy("approve", condition="double(data.amount) < 300.0"),
        f"{APPROVES}: double(data.amount) < 300.0 holds.",
    ),
    ("require", policy("approve", condition="double(data.amount) > 300.0"), BY_TYPE),
    (
        "refuse",
        policy("refuse", condition="data.currency != 'CHF'"),
        f"{REFUSES}: data.currency != 'CHF' holds.",
    ),
    (
        "require",
        policy(condition="data.lines.all(line, line.quantity < 2)"),
        f"{ASKS}: data.lines.all(line, line.quantity < 2) holds.",
    ),
    (
        "approve",
        policy("approve", condition="  agent == 'support-bot'\n"),
        f"{APPROVES}: agent == 'support-bot' holds.",
    ),
    (
        "approve",
        policy("approve", condition="context.model.startsWith('support')"),
        f"{APPROVES}: context.model.startsWith('support') holds.",
    ),
    ("require", policy("approve", task_type="wire*", condition="data.nothing"), BY_TYPE),
    # Who is asked.
    (
        "require",
        policy(approvals=asks(("finance", 2), ("legal", 1))),
        "Policy one needs 2 approvals from finance and 1 from legal.",
    ),
    (
        "require",
        policy(approvals=asks(("finance", 2), ("legal", 1), ("sre", 3))),
        "Policy one needs 2 approvals from finance, 1 from legal and 3 from sre.",
    ),
    ("require", policy(approvals=[{"role": "$to_role"}]), f"{ASKS}."),
    (
        "require",
        policy(approvals=asks(("$to_role", 2), ("legal", 1))),
        "Policy one needs 2 approvals from finance and 1 from legal.",
    ),
    (
        "require",
        policy(approvals=asks(("$to_role", 1), ("legal", 1), ("finance", 2))),
        "Policy one needs 2 approvals from finance and 1 from legal.",
    ),
    (
        "require",
        policy(approvals=asks(("finance", 2), ("$to_role", 1))),
        ASKS.replace("1 approval", "2 approvals") + ".",
    ),
    # A condition that can't be judged asks a human, whatever the policy says.
    *(
        (
            "require",
            policy(then, condition=condition),
            "The condition of policy one could not be evaluated, so a human is asked: "
            f"{why} It needs 1 approval from finance.",
        )
        for then in ("approve", "refuse", "require")
        for condition, why in [
            ("data.iban == 'AT61'", "there is no iban."),
            ("data.count", "it is neither true nor false."),
            ("data.count / 0 == 1", "division by zero."),
            ("data.lines.all(line, line.price > 0)", "there is no price."),
        ]
    ),
    (
        "require",
        policy(condition="data.nothing", approvals=asks(("legal", 2), ("$to_role", 1))),
        "The condition of policy one could not be evaluated, so a human is asked: "
        "there is no nothing. It needs 2 approvals from legal and 1 from finance.",
    ),
]


@pytest.mark.parametrize(("kind", "document", "why"), ONE_POLICY)
def test_what_one_policy_says_of_a_refund(kind, document, why, patient):
    said = evaluate_documents([document])
    assert (said.kind, said.why) == (kind, why)
    assert said.policy == ("" if why.startswith(NO_POLICY) else "one")
    assert (said.plan is None) == (kind != "require")


NO_HUMAN = "No policy matches and APPROVAL_DEFAULT is allow."
ONE_HUMAN = "No policy matches and APPROVAL_DEFAULT is require: 1 approval from finance."
# type of the task | APPROVAL_DEFAULT | what is said | the words
NO_POLICIES = [
    ("weekly_report", "require", "require", ONE_HUMAN),
    ("weekly_report", "allow", "approve", NO_HUMAN),
    ("approval_of_nothing", "allow", "approve", NO_HUMAN),
    ("approvals", "allow", "approve", NO_HUMAN),
    ("Approval", "allow", "approve", NO_HUMAN),
    *(
        (
            task_type,
            default,
            "require",
            f"No policy matches; {task_type} tasks always need a human: 1 approval from finance.",
        )
        for task_type in ("approval", "approval_request", "question", "x_approval", "x_question")
        for default in ("require", "allow")
    ),
]


@pytest.mark.parametrize(("task_type", "default", "kind", "why"), NO_POLICIES)
def test_what_is_said_where_no_policy_matches(task_type, default, kind, why):
    task = REFUND | {"task_type": task_type}
    for policies in ([], [policy("refuse", task_type="something_else")]):
        said = evaluate_documents(policies, task, default)
        assert (said.kind, said.why, said.policy) == (kind, why, "")
        if kind == "require":
            assert said.plan.approvals == (Requirement("finance", 1),)
            assert said.plan.name == ""
            assert asks_by_itself(task_type) == (why != ONE_HUMAN)


# the policies | which one speaks
SEVERAL = [
    ([policy(name="b"), policy("refuse", name="a")], "a"),
    ([policy(name="b", priority=-1), policy("refuse", name="a")], "b"),
    ([policy(name="b", priority=2), policy("refuse", name="a", priority=10)], "b"),
    ([policy(name="b", task_type="wire*"), policy("refuse", name="c", priority=9)], "c"),
    ([policy(name="a", condition="false"), policy("refuse", name="c", priority=9)], "c"),
    ([policy(name="a", condition="data.nothing"), policy("refuse", name="b")], "a"),
    ([policy(name="b", condition="data.nothing"), policy("refuse", name="a")], "a"),
    ([policy(name="B"), policy("approve", name="a")], "B"),
    ([policy("approve", name="10"), policy("refuse", name="9")], "10"),
]


@pytest.mark.parametrize(("policies", "speaks"), SEVERAL)
def test_the_first_that_matches_speaks(policies, speaks):
    assert (
        evaluate_documents(policies).policy == evaluate_documents(policies[::-1]).policy == speaks
    )


def test_a_policy_decision_names_the_version_and_carries_the_whole_plan():
    rule = Policy.parse(policy(deadline="4h"), version=3, id="an id")
    said = evaluate([rule], REFUND, "require")
    assert said.why == "Policy one (version 3) needs 1 approval from finance."
    assert (said.policy, said.policy_version, said.plan) == ("one", 3, rule)


def test_a_failed_condition_names_the_version_too():
    rule = Policy.parse(policy("approve", condition="data.nothing"), version=3)
    said = evaluate([rule], REFUND, "require")
    assert said.why.startswith("The condition of policy one (version 3) could not be evaluated")
    assert (said.policy, said.policy_version) == ("one", 3)
    assert said.plan == Policy.default("finance")


@pytest.mark.parametrize("then", ["approve", "refuse"])
def test_who_leaves_a_field_out_does_not_escape_the_policies_after_it(then):
    first = policy(then, name="a", priority=1, condition="data.nothing < 5")
    strict = policy(name="b", priority=2, approvals=asks(("finance", 2), ("legal", 1)))
    said = evaluate_documents([first, strict], REFUND)
    assert (said.kind, said.policy) == (Outcome.REQUIRE, "b")
    assert said.why == (
        "Policy b needs 2 approvals from finance and 1 from legal. "
        "The condition of policy a, which comes first, could not be evaluated."
    )
    refused = evaluate_documents([first, policy("refuse", name="b", priority=2)], REFUND)
    assert refused.kind == Outcome.REFUSE
    passed = evaluate_documents([first, policy("approve", name="b", priority=2)], REFUND)
    assert (passed.kind, passed.policy) == (Outcome.REQUIRE, "a")


@pytest.mark.parametrize("then", ["approve", "refuse", "require"])
def test_a_hostile_payload_asks_a_human(then):
    slow = "data.x.all(i, !data.y.matches('(x+x+)+y'))"
    task = REFUND | {"data": {"x": list(range(3_000)), "y": "x" * 200_000}}
    said = evaluate_documents([policy(then, condition=slow)], task)
    assert said.kind == Outcome.REQUIRE
    assert said.why == (
        "The condition of policy one could not be evaluated, so a human is asked: "
        "it took too long. It needs 1 approval from finance."
    )


@pytest.mark.parametrize("number", [0, 1, 30, 59])
def test_the_first_of_many_that_holds_decides(number, patient):
    conditions = [f"data.count == {n + 9}" for n in range(60)]
    conditions[number] = "data.count == 3"
    conditions[-1] = "data.count == 3"
    documents = [policy(name=f"{n:02}", condition=text) for n, text in enumerate(conditions)]
    assert evaluate_documents(documents).policy == f"{number:02}"


@pytest.mark.parametrize("failing", ["data.nothing == 1", "data.amount == 1", "data.count"])
def test_one_of_many_that_fails_asks_a_human(failing, patient):
    conditions = [f"data.count == {n + 9}" for n in range(60)]
    conditions[40] = failing
    documents = [
        policy("approve", name=f"{n:02}", condition=text) for n, text in enumerate(conditions)
    ]
    said = evaluate_documents(documents)
    assert (said.kind, said.policy) == (Outcome.REQUIRE, "40")


# Against the slow reference.

ROLES = st.sampled_from(["finance", "sre", "fin", "fi", "ops", "support-agent"])
TYPES = st.sampled_from(
    ["approval", "x_approval", "x_question", "question", "report", "wire_transfer", "a", "ab_a"]
)
GLOBS = st.sampled_from(
    ["*", "fin*", "*_approval", "?i*", "*a*", "a", "*e", "wire?transfer"]
) | st.text("abfinx_*?", min_size=1, max_size=5)
ANSWERS = reference.conditions(["x", "y"], [-1, 0, 2])
CONDITIONS = st.sampled_from(list(ANSWERS))
DATA = st.dictionaries(
    st.sampled_from(["x", "y"]),
    st.integers(-2, 3) | st.booleans() | st.none() | st.sampled_from(["", "2", [], {"x": 1}]),
)
TASKS = st.fixed_dictionaries(
    {"task_type": TYPES, "from_role": ROLES, "to_role": ROLES, "data": DATA}
).map(lambda task: REFUND | task)
WHEN = st.fixed_dictionaries(
    {},
    optional={"task_type": GLOBS, "from_role": GLOBS, "to_role": GLOBS, "condition": CONDITIONS},
).map(lambda when: {key: value for key, value in when.items() if value})


@st.composite
def several_policies(draw):
    names = draw(st.lists(st.text("ABab1", min_size=1, max_size=2), max_size=6, unique=True))
    found = []
    for name in names:
        then = draw(st.sampled_from(list(Outcome)))
        document = {
            "name": name,
            "priority": draw(st.integers(-1, 2)),
            "when": draw(WHEN),
            "then": then.value,
        }
        if then is Outcome.REQUIRE:
            roles = draw(st.lists(ROLES, min_size=1, max_size=3, unique=True))
            document["approvals"] = asks(*((role, draw(st.integers(1, 3))) for role in roles))
        found.append(document)
    return found


@settings(max_examples=500, deadline=None)
@given(several_policies(), TASKS, st.sampled_from(["require", "allow"]))
def test_any_policies_say_exactly_what_the_slow_reference_says(policies, task, default):
    said = evaluate_documents(policies, task, default)
    asked = [(r.role, r.count) for r in said.plan.approvals] if said.plan else None
    expected = reference.verdict(policies, task, default, ANSWERS)
    assert (said.kind, said.policy, asked) == expected


@settings(max_examples=1_000, deadline=None)
@given(st.text("ab*?", max_size=8), st.text("ab*?", max_size=8))
@example("*a*b", "aab")
@example("a*", "a")
@example("?", "")
def test_a_glob_matches_what_the_reference_says(glob, text):
    assert matches(glob, text) == reference.fits(glob, text)


def test_a_hostile_glob_and_text_are_matched_all_the_same():
    assert not matches("*a" * 75, "a" * 5_000 + "b")
    assert matches("*a" * 75, "a" * 5_000)


# Reading documents.

LENGTHS = st.builds(lambda n, unit: f"{n}{unit}", st.integers(1, 365), st.sampled_from("smhd"))
NAMES = (
    st.text("abc é😀", min_size=1, max_size=8).map(lambda text: " ".join(text.split())).filter(bool)
)


@st.composite
def documents(draw):
    """Policies as people might write them, with every key now and then."""
    then = draw(st.sampled_from(list(Outcome)))
    document = {"name": draw(NAMES), "then": then.value, "when": draw(WHEN)}
    document |= draw(
        st.fixed_dictionaries(
            {},
            optional={"priority": st.integers(-1_000_000, 1_000_000), "description": st.text("a ")},
        )
    )
    if then is not Outcome.REQUIRE:
        return document
    roles = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    counts = st.integers(1, 50)
    step = st.fixed_dictionaries({"role": NAMES, "deadline": LENGTHS}, optional={"count": counts})
    more = {
        "deny_threshold": counts,
        "deadline": st.just("365d"),
        "reminders": st.lists(LENGTHS.filter(lambda n: n != "365d"), min_size=1, max_size=3),
        "escalate": st.lists(step, min_size=1, max_size=3),
        "on_timeout": st.sampled_from(["reject", "approve_without_a_human"]),
        "valid_for": LENGTHS,
        "risk": st.sampled_from(["high", "normal", "low"]),
        "look_for": st.sampled_from(["1s", "5m"]),
        "type_out": st.sampled_from(["data.amount", "context.a.b-c_1"]),
        "instructions": st.sampled_from(["Call them.", "Call them.\nAsk for Ann."]),
    }
    document["approvals"] = [{"role": role, "count": draw(counts)} for role in roles]
    return document | draw(st.fixed_dictionaries({}, optional=more))


@settings(max_examples=300, deadline=None)
@given(documents())
def test_a_policy_is_the_same_after_it_is_written_and_read_again(document):
    rule = Policy.parse(document)
    assert Policy.parse(rule.as_document()) == rule
    assert Policy.parse(rule.as_document()).as_document() == rule.as_document()


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(["require", "approve", "finance", "4h", "0h", "true", "data.x > 1", "reject"])
)
KEYS = st.sampled_from(
    [
        *policy("approve", condition="true"),
        *Policy.__dataclass_fields__,
        "when",
        "then",
        "role",
        "count",
    ]
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS | st.text(max_size=4) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)
ALMOST = st.builds(
    lambda document, key, value: document | {key: value}, documents(), KEYS, ANYTHING
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANYTHING | ALMOST)
def test_anything_is_a_policy_or_is_refused_by_name(document):
    try:
        rule = Policy.parse(document)
    except RuleInvalid as refusal:
        said = refusal
    else:
        assert Policy.parse(rule.as_document()) == rule
        return
    assert said.data["field"].encode().decode() == said.data["field"]
    assert said.data["reason"].isprintable()
    assert said.data["reason"].endswith(".")
    assert len(str(said)) < 1_000


FINE = policy(deadline="4h", escalate=[{"role": "legal", "deadline": "2h"}])
LEADS = "it must lead to a member of data or context, for example data.amount."
LATE = "is not a length of time: write a whole number above 0 and s, m, h or d, for example 7d."
WHOLE = "it must be a whole number from"
# what is changed | the field | the reason
REFUSED = [
    (None, "policy", "it must be a mapping."),
    ([FINE], "policy", "it must be a mapping."),
    ({"name": None}, "name", "it must be a text."),
    ({"name": ""}, "name", "it must be one line of visible characters, single spaces between."),
    ({"name": " a"}, "name", "it must be one line of visible characters, single spaces between."),
    ({"name": "a\nb"}, "name", "it must be one line of visible characters, single spaces between."),
    (
        {"name": "a\u202eb"},
        "name",
        "it must be one line of visible characters, single spaces between.",
    ),
    ({"name": "a" * 151}, "name", "it is longer than 150 characters."),
    ({"name": "\ud800"}, "name", "it has characters that can't be kept."),
    ({"description": "a\0"}, "description", "it has characters that can't be kept."),
    ({"description": "a" * 2_001}, "description", "it is longer than 2,000 characters."),
    ({"priority": 1.0}, "priority", f"{WHOLE} -1,000,000 to 1,000,000."),
    ({"priority": True}, "priority", f"{WHOLE} -1,000,000 to 1,000,000."),
    ({"priority": 1_000_001}, "priority", f"{WHOLE} -1,000,000 to 1,000,000."),
    ({"when": []}, "when", "it must be a mapping."),
    ({"when": {"role": "x"}}, "when.role", "there is no such key."),
    (
        {"when": {"task_type": ""}},
        "when.task_type",
        "it must be one line of visible characters, single spaces between.",
    ),
    (
        {"when": {"condition": "amount > 1"}},
        "when.condition",
        "there is no amount (column 1).",
    ),
    (
        {"when": {"condition": " "}},
        "when.condition",
        "Syntax error: mismatched input '<EOF>' (column 1).",
    ),
    ({"then": "ask"}, "then", "it must be approve, require or refuse."),
    ({"then": "approve"}, "approvals", "it has no place in a policy that says approve."),
    ({"then": "refuse"}, "approvals", "it has no place in a policy that says refuse."),
    ({"approvals": []}, "approvals", "it must be a list of 1 to 20."),
    ({"approvals": {}}, "approvals", "it must be a list of 1 to 20."),
    (
        {"approvals": asks(*((f"r{n}", 1) for n in range(21)))},
        "approvals",
        "it must be a list of 1 to 20.",
    ),
    ({"approvals": ["finance"]}, "approvals[0]", "it must be a mapping."),
    ({"approvals": [{"count": 1}]}, "approvals[0].role", "it is missing."),
    ({"approvals": asks(("a", 0))}, "approvals[0].count", f"{WHOLE} 1 to 50."),
    ({"approvals": asks(("a", 51))}, "approvals[0].count", f"{WHOLE} 1 to 50."),
    ({"approvals": asks(("a", 1), ("a", 2))}, "approvals[1].role", "a is there twice."),
    (
        {"approvals": [{"role": "a", "deadline": "1h"}]},
        "approvals[0].deadline",
        "there is no such key.",
    ),
    ({"deny_threshold": 0}, "deny_threshold", f"{WHOLE} 1 to 50."),
    ({"deadline": 4}, "deadline", "it must be a length of time, for example 4h."),
    ({"deadline": "4"}, "deadline", f"'4' {LATE}"),
    ({"deadline": "0h"}, "deadline", f"'0h' {LATE}"),
    ({"deadline": "366d"}, "deadline", "it must be at most 365d."),
    ({"deadline": "9" * 200 + "h"}, "deadline", "it must be a length of time, for example 4h."),
    ({"reminders": "1h"}, "reminders", "it must be a list of 1 to 10."),
    ({"reminders": ["1h", "soon"]}, "reminders[1]", f"'soon' {LATE}"),
    ({"reminders": ["1h", "4h"]}, "reminders[1]", "it must be shorter than the deadline."),
    ({"escalate": [{"role": "legal"}]}, "escalate[0].deadline", "it is missing."),
    (
        {"escalate": [{"role": "legal", "deadline": "1h", "to": 1}]},
        "escalate[0].to",
        "there is no such key.",
    ),
    ({"on_timeout": "approve"}, "on_timeout", "it must be reject or approve_without_a_human."),
    ({"valid_for": "0d"}, "valid_for", f"'0d' {LATE}"),
    ({"risk": "fatal"}, "risk", "it must be high, normal or low."),
    ({"look_for": "6m"}, "look_for", "it must be at most 5m."),
    ({"type_out": "task_type"}, "type_out", LEADS),
    ({"type_out": "data..amount"}, "type_out", LEADS),
    ({"instructions": 1}, "instructions", "it must be a text."),
    ({"instructions": "a" * 501}, "instructions", "it is longer than 500 characters."),
    ({"approval": 1}, "approval", "there is no such key."),
    ({"\ud800\0": 1}, "��", "there is no such key."),
    ({"k" * 1_000: 1}, "k" * 100, "there is no such key."),
]


@pytest.mark.parametrize(("change", "field", "reason"), REFUSED)
def test_what_is_no_policy_is_refused_by_name(change, field, reason):
    document = FINE | change if isinstance(change, dict) else change
    with pytest.raises(RuleInvalid) as refusal:
        Policy.parse(document)
    assert refusal.value.data == {"field": field, "reason": reason}


def test_instructions_are_for_people_who_are_asked():
    rule = Policy.parse(FINE | {"instructions": " Call a known number.\n"})
    assert rule.instructions == "Call a known number."
    assert Policy.default("finance").instructions == ""
    with pytest.raises(RuleInvalid) as refusal:
        Policy.parse(policy("approve") | {"instructions": "Call."})
    assert refusal.value.data["field"] == "instructions"


@pytest.mark.parametrize("key", ["name", "then", "approvals"])
def test_what_a_policy_cannot_do_without(key):
    with pytest.raises(RuleInvalid) as refusal:
        Policy.parse({name: value for name, value in FINE.items() if name != key})
    assert refusal.value.data["field"] == key


@pytest.mark.parametrize("then", ["approve", "refuse"])
@pytest.mark.parametrize("key", sorted({"deadline", "reminders", "escalate", "valid_for"}))
def test_only_a_policy_that_asks_says_how(then, key):
    with pytest.raises(RuleInvalid) as refusal:
        Policy.parse({"name": "one", "then": then, key: "4h"})
    assert refusal.value.data["field"] == key


def test_a_policy_with_every_key():
    rule = Policy.parse(
        {
            "name": "Large wires",
            "priority": 5,
            "description": "Two of us, and legal.",
            "when": {"task_type": "wire**", "to_role": "fin*", "condition": " true "},
            "then": "require",
            "approvals": [{"role": "finance", "count": 2}, {"role": "legal"}],
            "deny_threshold": 2,
            "deadline": "48h",
            "reminders": ["1h", "24h", "60m"],
            "escalate": [{"role": "$to_role", "count": 3, "deadline": "90m"}],
            "on_timeout": "approve_without_a_human",
            "valid_for": "30s",
            "risk": "high",
            "look_for": "60s",
            "type_out": "data.amount",
        }
    )
    assert rule == Policy(
        name="Large wires",
        kind=Outcome.REQUIRE,
        priority=5,
        description="Two of us, and legal.",
        task_type="wire*",
        to_role="fin*",
        condition="true",
        approvals=(Requirement("finance", 2), Requirement("legal", 1)),
        deny_threshold=2,
        deadline=timedelta(days=2),
        reminders=(timedelta(hours=24), timedelta(hours=1)),
        escalate=(Escalation("$to_role", 3, timedelta(minutes=90)),),
        on_timeout="approve_without_a_human",
        valid_for=timedelta(seconds=30),
        risk="high",
        look_for=timedelta(minutes=1),
        type_out="data.amount",
    )
    assert rule.as_document() == {
        "name": "Large wires",
        "priority": 5,
        "description": "Two of us, and legal.",
        "when": {"task_type": "wire*", "to_role": "fin*", "condition": "true"},
        "then": "require",
        "approvals": [{"role": "finance", "count": 2}, {"role": "legal", "count": 1}],
        "deny_threshold": 2,
        "deadline": "2d",
        "reminders": ["1d", "1h"],
        "escalate": [{"role": "$to_role", "count": 3, "deadline": "90m"}],
        "on_timeout": "approve_without_a_human",
        "valid_for": "30s",
        "risk": "high",
        "look_for": "1m",
        "type_out": "data.amount",
    }
    assert list(rule.as_document())[:4] == ["name", "priority", "description", "when"]


@given(st.integers(1, int(LONGEST_DURATION.total_seconds())))
def test_a_length_of_time_is_written_in_its_largest_unit(seconds):
    length = timedelta(seconds=seconds)
    number, unit = int(format_duration(length)[:-1]), format_duration(length)[-1]
    assert number * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[unit] == seconds
    larger = {"s": 60, "m": 3_600, "h": 86_400}.get(unit)
    assert larger is None or seconds % larger
    if number < 1_000_000:
        assert parse_duration(format_duration(length)) == length
