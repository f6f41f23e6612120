"""The editor's fields, and what it says of JSON that is none."""

import pytest

from approvals_app.review.editing import (
    FieldInvalid,
    apply_fields,
    explain_json_error,
    find_stale_numbers,
    list_fields,
)

pytestmark = pytest.mark.pure

DATA = {
    "amount": "9120.50",
    "count": 3,
    "rate": 1.10,
    "urgent": True,
    "note": "two\nlines",
    "to": {"name": "Nordwind"},
    "none": None,
    "hidden": "a\u200bb",
}


def test_simple_values_are_fields_and_nothing_that_a_form_would_change():
    kinds = {field.name: field.kind for field in list_fields(DATA)}
    assert kinds == {
        "amount": "text",
        "count": "number",
        "rate": "number",
        "urgent": "boolean",
        "note": "long",
    }
    assert list_fields(["not", "an", "object"]) == []


def test_an_untouched_form_changes_nothing():
    posted = {field.input: field.value for field in list_fields(DATA)}
    posted["field.note"] = "two\r\nlines"
    assert apply_fields(DATA, DATA, posted) == DATA


def test_a_changed_field_keeps_its_type_and_wins_over_the_json():
    posted = {"field.amount": "9020.50", "field.count": "4", "field.urgent": "false"}
    changed = apply_fields(DATA | {"amount": "1", "more": 1}, DATA, posted)
    assert changed == DATA | {"amount": "9020.50", "count": 4, "urgent": False, "more": 1}


@pytest.mark.parametrize("text", ["", "four", "true", "1e999", "NaN", '"4"'])
def test_a_number_stays_a_number(text):
    with pytest.raises(FieldInvalid) as refused:
        apply_fields(DATA, DATA, {"field.count": text})
    assert refused.value.name == "field.count"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('{"a": 1,\n "b": 2,\n}', "Line 2: remove the extra comma."),
        ("[1,\n2,]", "Line 2: remove the extra comma."),
        ("{\na: 1}", "Line 2: put the name in double quotes."),
        ('{"a": 1\n"b": 2}', "Line 2: a comma, or a closing bracket, is missing before this."),
        ('{"a" 1}', "Line 1: a colon is missing after the name."),
        ('{"a": "x}', "Line 1: the closing quotation mark is missing."),
        ('{"a": "x\ny"}', "Line 1: write a line break in a text as \\n."),
        ('{"a": "\\x"}', "Line 1: write a backslash as \\\\."),
        ("{}\n{}", "Line 2: remove what follows the end."),
        ('{"a": b}', "Line 1: a value is missing, or a text is not in double quotes."),
        ("{}", ""),
        ("[" * 100_000, "It is nested too deeply."),
    ],
)
def test_what_is_wrong_with_json_is_said_by_line(text, advice):
    assert explain_json_error(text) == advice


def test_numbers_that_the_data_no_longer_has_are_told():
    payload = {"description": "Pay 9,120.50 EUR, order 77.", "data": DATA, "context": {}}
    changes = payload | {"data": DATA | {"amount": "9020.50"}}
    assert find_stale_numbers(payload, changes) == ["9,120.50"]
    assert find_stale_numbers(payload, payload) == []
