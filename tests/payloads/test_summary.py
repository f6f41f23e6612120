"""What every summary keeps to, whatever the kind."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals_app.payload.facts import Level, find, format_path
from approvals_app.payload.summary import MOST_FACTS, summarize, summarize_text
from tests.payloads.reading import FOLDER, load, summarize_data

pytestmark = pytest.mark.pure

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**6) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["amount", "sql", "to", "x"]), inner)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_comes_from_where_it_says(name):
    data = load(name)
    summary = summarize_data(data)
    assert summary.facts
    for fact in summary.facts:
        find(data, fact.path)
        assert fact.label
        assert fact.value
        assert len(fact.value.splitlines()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_most_dangerous_stand_first(name):
    levels = [list(Level).index(fact.level) for fact in summarize_data(load(name)).facts]
    assert levels == sorted(levels)
    assert len(levels) <= MOST_FACTS


@pytest.mark.parametrize("name", NAMES)
def test_it_is_found_under_any_member(name):
    facts = [(fact.label, fact.value) for fact in summarize_data(load(name)).facts]
    nested = summarize_data({"request": {"payload": load(name)}})
    assert [(fact.label, fact.value) for fact in nested.facts] == facts
    assert all(fact.path[:2] == ("request", "payload") for fact in nested.facts)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(JSON, st.text())
def test_any_json_has_a_summary(data, description):
    summary = summarize_data(data, description)
    assert all(find(data, fact.path) is not Ellipsis for fact in summary.facts)
    assert summary.unread >= 0
    assert summary.line.isprintable()


@pytest.mark.parametrize(
    ("description", "strange"),
    [
        ("Refund 249.90 EUR", ()),
        ("Refund 249.9 for order 2026-118204", ()),
        ("Refund 1,000.00", ("1,000.00",)),
        ("Refund 24.90 EUR", ("24.90",)),
        ("Two of 3 items", ()),  # a single digit is no figure
        ("", ()),
    ],
)
def test_a_number_of_the_description_that_the_payload_lacks_is_named(description, strange):
    data = {"amount": "249.90", "currency": "EUR", "order": "2026-118204"}
    assert summarize_data(data, description).strange_numbers == strange


def test_members_that_no_fact_tells_of_are_counted():
    data = {"sql": "SELECT 1", "surprise": 1, "other": {"deep": 1}}
    assert summarize_data(data).unread == 2
    assert summarize_data({"surprise": 1}).unread == 1
    assert summarize_data([1, 2]).unread == 0


def test_paths_are_written_as_conditions_write_them():
    assert format_path(("plan", "changes", 3, "a")) == "plan.changes[3].a"
    assert format_path(("due-date", 'a"b')) == '["due-date"]["a\\"b"]'


def test_a_summary_is_the_same_from_memory():
    payload = '{"context":{},"data":{"sql":"DROP TABLE orders"},"description":"","task_type":"x"}'
    assert summarize_text(payload) is summarize_text(payload)
    assert summarize_text(payload).facts[0].level is Level.DANGER


def test_traits_are_what_policies_ask_for():
    traits = summarize({"data": load("cmd_sudo_text"), "description": ""}).traits
    assert traits["as_root"] is True
    assert summarize_data(load("plan_many_noop")).traits["destroys"] == 1
    assert summarize_data(load("mail_bcc_many")).traits["recipients"] == 1_201
    assert summarize_data(load("stripe_refund")).traits["amount"] == "249.90 EUR"
    assert "amount" not in summarize_data(load("stripe_refund_no_currency")).traits
