"""When things happen: read once, rated by the clock of whoever reads."""

from datetime import UTC, date, datetime

import pytest

from approvals_app.payload.facts import Level, find
from approvals_app.payload.summary import summarize_text
from tests.payloads.reading import say, summarize_data

pytestmark = pytest.mark.pure

PAY = {"charge": "ch_X1", "amount": 100, "currency": "eur"}
MAIL = {"to": "a@example.com", "subject": "Hi", "text": "x"}
BEFORE, AFTER = (datetime(2026, 12, day, 12, tzinfo=UTC) for day in (1, 9))


@pytest.mark.parametrize(
    ("data", "label", "value"),
    [
        ({**PAY, "value_date": "2026-12-05"}, "value date", "2026-12-05"),
        ({**MAIL, "send_at": 1_796_472_000}, "send at", "2026-12-05 12:00 UTC"),
        (
            {"command": "reboot", "run_at": "2026-12-05T13:00:00+01:00"},
            "run at",
            "2026-12-05 12:00 UTC",
        ),
        ({"job": [{"scheduledFor": "2026-12-05T12:00:00.5Z"}]}, "scheduled for", None),
        ({"sql": "SELECT 1", "execute_at": "2026-12-05 12:00"}, "execute at", None),
        (
            {"maintenance_window": {"start": "2026-12-01T01:00Z", "end": "2026-12-05T02:00Z"}},
            None,
            None,
        ),
    ],
)
def test_what_should_have_happened_is_a_danger_by_the_clock(data, label, value):
    label = label or "maintenance window ends"
    before, after = (
        {fact.label: fact for fact in summarize_data(data, now=now).facts}
        for now in (BEFORE, AFTER)
    )
    assert before[label].level is Level.PLAIN
    assert after[f"{label} in the past"].level is Level.DANGER
    assert value is None or before[label].value == after[f"{label} in the past"].value == value
    assert find(data, before[label].path)


def test_a_summary_from_memory_does_not_freeze_the_clock():
    payload = '{"context":{},"data":{"run_at":"2026-12-05T12:00:00Z"},"description":""}'
    assert summarize_text(payload, BEFORE).level is Level.PLAIN
    assert summarize_text(payload, AFTER).level is Level.DANGER


def test_moments_are_told_for_machines_too():
    [fact] = summarize_data({"run_at": "2026-12-05T13:00:00+01:00"}).facts
    assert fact.at == datetime(2026, 12, 5, 12, tzinfo=UTC)
    [fact] = summarize_data({"execution_date": "2026-12-05"}).facts
    assert fact.at == date(2026, 12, 5)
    [fact] = summarize_data({"run_at": "2026-12-05 13:00"}).facts
    assert fact.at is None
    assert fact.value == "2026-12-05 13:00, time zone not said"


@pytest.mark.parametrize(
    "value",
    ["soon", "2026-13-40", "9999-12-31", 5, True, None, {}, [[[[[]]]]], "0000-00-00", 10**30],
)
def test_what_is_no_date_is_left_alone(value):
    assert len(summarize_data({"run_at": value}).facts) <= 1


def test_a_day_is_over_when_it_is_over_everywhere():
    data = {"execution_date": "2026-12-05"}
    for day, hour, level in ((5, 23, "plain"), (6, 11, "plain"), (6, 12, "danger")):
        now = datetime(2026, 12, day, hour, tzinfo=UTC)
        assert summarize_data(data, now=now).level == level


def test_several_dates_of_one_name_are_one_fact():
    rows = [{**PAY, "pay_date": f"2026-12-{day:02}"} for day in (7, 5, 6)]
    summary = summarize_data({"rows": rows})
    [fact] = [fact for fact in summary.facts if fact.at]
    assert say(fact) == "plain pay date, the first of 3: 2026-12-05"
    assert fact.path == ("rows", 1, "pay_date")
