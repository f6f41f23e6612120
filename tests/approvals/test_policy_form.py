"""A policy in the form is the policy as YAML."""

import itertools
from pathlib import Path

import pytest
from django.http import QueryDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals_app.policy.clauses import CLAUSES, build_condition, find_gaps, split_condition
from approvals_app.policy.files import dump, parse_file
from approvals_app.policy.language import Policy
from approvals_app.review.policy_form import (
    FORM,
    YAML,
    Draft,
    DraftInvalid,
    suggest_priority,
)
from tests.approvals.test_policy_language import documents

pytestmark = pytest.mark.pure
ROOT = Path(__file__).parents[2]
EXAMPLES = parse_file((ROOT / "examples" / "policies.yaml").read_text())
ROWS = {
    "approvals": {"role": "role", "count": "count"},
    "escalate": {"role": "next_role", "count": "next_count", "deadline": "next_deadline"},
}


def post(draft, **changed):
    """What a browser sends of ``draft``."""
    posted = QueryDict(mutable=True)
    posted["mode"] = draft.mode
    posted["text"] = draft.text
    for name, value in (draft.values | changed).items():
        if name not in ROWS:
            posted[name] = value.replace("\n", "\r\n")
            continue
        for row in [*value, {"role": "", "count": "", "deadline": ""}]:
            for column, field in ROWS[name].items():
                posted.appendlist(field, row[column])
    return posted


def send(draft, **changed):
    return Draft.read(post(draft, **changed))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents())
def test_a_policy_is_the_same_after_it_went_through_the_form(document):
    policy = Policy.parse(document)
    draft = Draft.of(policy)
    if draft.mode == FORM:
        assert send(draft).parse() == policy
        assert send(draft).switch(YAML).parse() == policy
    else:
        assert draft.note
    assert send(Draft.of(policy, YAML)).parse() == policy


@pytest.mark.parametrize("policy", EXAMPLES, ids=lambda policy: policy.name)
def test_the_form_shows_the_examples(policy):
    draft = Draft.of(policy)
    assert (draft.mode, draft.note) == (FORM, "")
    assert send(draft).parse() == policy


def test_what_the_form_can_not_keep_opens_as_yaml():
    policy = Policy.parse({"name": "x", "then": "refuse", "description": " a\r\nb"})
    draft = Draft.of(policy)
    assert draft.mode == YAML
    assert draft.note == "The form can't keep the blanks and line ends of this policy's texts."
    assert send(draft).parse() == policy
    stored = Policy.parse({"name": "x", "then": "refuse", "when": {"condition": "no"}}, version=1)
    assert Draft.of(stored).note == (
        "The form can't show this policy: when.condition: there is no no (column 1)."
    )


FIELDS = {"destroys": "on", "as_root": "on", "recipients_above": "1000", "currency": "EUR"}
FIELDS |= {"amount_above": "249.90", "amount_up_to": "5000"}
RESTS = ["", "data.x > 1", "(data.x) || (data.y)", "data.x || data.y", "data.x // why"]


@pytest.mark.parametrize("rest", RESTS)
def test_fields_of_conditions_and_the_condition_say_the_same(rest):
    for chosen in itertools.product([True, False], repeat=len(CLAUSES)):
        names = [name for (name, _, _), used in zip(CLAUSES, chosen, strict=True) if used]
        values = {name: FIELDS[name] if name in names else "" for name, _, _ in CLAUSES}
        values["condition"] = rest
        text = build_condition(values)
        assert split_condition(text) == values
        if text:
            Policy.parse({"name": "x", "then": "refuse", "when": {"condition": text}})


@pytest.mark.parametrize(
    "text",
    [
        "summary.as_root || data.x",
        "summary.as_root && data.x || data.y",
        "summary.as_root && (data.x) || (data.y)",
        'data.currency == "eur"',
        "summary.destroys > 0 && summary.destroys > 0",
        'data.currency == "EUR" && decimal(data.amount) > decimal("1")',
        "decimal(data.amount) > decimal(100)",
        "(summary.as_root)",
        "summary.as_root && ",
    ],
)
def test_other_conditions_stay_as_they_are_written(text):
    values = split_condition(text)
    assert build_condition(values) == text


def fill(**values):
    return (
        Draft.start(10).values | {"name": "x", "approvals": [{"role": "a", "count": ""}]} | values
    )


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"name": ""}, "name", "Name: it must be one line"),
        ({"priority": "1.5"}, "priority", "Priority: it must be a whole number"),
        ({"amount_above": "much"}, "amount_above", "Amount above: it must be a number"),
        ({"currency": "euro"}, "currency", "Currency: it must be three capital letters"),
        ({"approvals": []}, "approvals", "Who approves: it must be a list of 1 to 20."),
        ({"approvals": [{"role": "a", "count": "0"}]}, "approvals", "Who approves: it must be"),
        ({"deadline": "4"}, "deadline", "Answer within: '4' is not a length of time"),
        ({"reminders": "1h soon"}, "reminders", "Reminders: 'soon' is not a length of time"),
        ({"condition": "nope"}, "condition", "Condition: there is no nope"),
        (
            {"condition": "data.x) || (data.y", "as_root": "on"},
            "condition",
            "Condition: Syntax error",
        ),
        ({"then": "maybe"}, "then", "What happens: it must be approve, require or refuse."),
    ],
)
def test_what_is_wrong_is_said_at_its_field(values, field, message):
    with pytest.raises(DraftInvalid) as refusal:
        send(Draft(FORM, fill(**values))).parse()
    assert refusal.value.field == field
    assert message in str(refusal.value)


def test_amounts_may_be_written_with_separators():
    policy = Draft(FORM, fill(amount_above="10,000.50")).parse()
    assert policy.condition == 'decimal(data.amount) > decimal("10000.50")'


def test_who_needs_nobody_says_nothing_of_approvers():
    draft = Draft(FORM, fill(then="refuse", deadline="4h", instructions="Call."))
    assert send(draft).parse().as_document() == {"name": "x", "priority": 10, "then": "refuse"}


def test_a_new_policy_comes_after_the_others():
    assert suggest_priority([]) == 10
    assert suggest_priority(EXAMPLES) == 70
    assert suggest_priority([Policy.parse({"name": "x", "then": "refuse", "priority": -7})]) == 0


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*Draft.start(1).values, "mode", "text"]), st.text()))
def test_anything_posted_is_a_policy_or_is_refused(fields):
    posted = QueryDict(mutable=True)
    posted.update(fields)
    try:
        policy = Draft.read(posted).parse()
    except DraftInvalid as refusal:
        said = str(refusal)
    else:
        said = dump(policy)
    assert said


def amounts(*pairs, task_type="refund*", **when):
    return [
        Policy.parse(
            {"name": f"{number}", "then": "refuse", "when": {"task_type": task_type, **when}}
            | (
                {"when": {"task_type": task_type, **when, "condition": condition}}
                if condition
                else {}
            )
        )
        for number, condition in enumerate(pairs)
    ]


SMALL, LARGE = "double(data.amount) <= 500.0", 'decimal(data.amount) > decimal("1000")'
EUR = 'data.currency == "EUR" && '
# conditions of the policies for refund* | what no policy matches
GAPS = [
    ([SMALL, LARGE], ["refund*: no policy matches amounts above 500 up to 1,000."]),
    (
        [EUR + SMALL, EUR + LARGE],
        ["refund*: no policy matches amounts above 500 up to 1,000 EUR."],
    ),
    ([EUR + SMALL, LARGE], ["refund*: no policy matches amounts above 500 up to 1,000 EUR."]),
    ([SMALL], ["refund*: no policy matches amounts above 500."]),
    (
        ["data.amount < 5.0", "data.amount >= 7.0"],
        ["refund*: no policy matches amounts from 5 below 7."],
    ),
    (
        ["data.amount < 5.0", "data.amount > 5.0"],
        ["refund*: no policy matches amounts from 5 up to 5."],
    ),
    ([SMALL, "double(data.amount) > 500.0"], []),
    ([SMALL, "data.amount >= 100.0 && data.amount <= 2000.0", LARGE], []),
    ([SMALL, LARGE, "data.x"], []),
    ([SMALL, LARGE, ""], []),
    ([LARGE], []),
    ([], []),
]


@pytest.mark.parametrize(("conditions", "gaps"), GAPS)
def test_amounts_that_no_policy_matches(conditions, gaps):
    assert find_gaps(amounts(*conditions)) == gaps


def test_nothing_is_said_of_what_another_policy_might_match():
    gap = amounts(SMALL, LARGE)
    said = find_gaps(gap)
    for other in ("*", "refund_x", "*_approval", "r?fund", "re*"):
        assert find_gaps([*gap, *amounts("data.x", task_type=other)]) == []
    assert find_gaps([*gap, *amounts("data.x", task_type="wire*")]) == said
    assert find_gaps([*gap, *amounts("data.x", task_type="wire")]) == said
