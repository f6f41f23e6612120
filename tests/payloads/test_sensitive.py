"""Sensitive values are found by their marks and names, masked, and put back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals_app.payload.facts import find, format_path
from approvals_app.payload.sensitive import find_sensitive, hide_values, mask, restore
from tests.payloads.reading import load, summarize_data

pytestmark = pytest.mark.pure

SECRET = "hunter2-hunter2"


def list_paths(value):
    return [format_path(path) for path in find_sensitive(value)]


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"password": SECRET}, ["password"]),
        ({"dbPassword": SECRET, "DB_PASSWORD": SECRET}, ["dbPassword", "DB_PASSWORD"]),
        (
            {"a": [{"headers": {"Authorization": f"Bearer {SECRET}"}}]},
            ["a[0].headers.Authorization"],
        ),
        ({"private_key": SECRET, "apiKey": SECRET}, ["private_key", "apiKey"]),
        ({"client-secret": SECRET, "pin_token": 1234}, ['["client-secret"]', "pin_token"]),
        ({"variables": {"admin_password": {"value": SECRET}}}, ["variables.admin_password.value"]),
        ({"env": [{"name": "DB_PASSWORD", "value": SECRET}]}, ["env[0].value"]),
        (
            {"Parameters": [{"ParameterKey": "MasterUserPassword", "ParameterValue": SECRET}]},
            ["Parameters[0].ParameterValue"],
        ),
        ({"Parameters": {"Pin": {"NoEcho": True, "Default": SECRET}}}, ["Parameters.Pin.Default"]),
        ({"outputs": {"x": {"sensitive": True, "value": SECRET}}}, ["outputs.x.value"]),
        (
            {"kind": "Secret", "data": {"a": "aHVu"}, "stringData": {"b": SECRET}},
            ["data.a", "stringData.b"],
        ),
        (
            {
                "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
                "plaintext": f'"{SECRET}"',
            },
            ["plaintext"],
        ),
        (
            {
                "before": {"user": "a", "tags": ["x", "y"]},
                "after": None,
                "before_sensitive": {"user": True, "tags": [False, True]},
                "after_sensitive": True,
            },
            ["before.tags[1]", "before.user"],
        ),
        (
            {"values": {"a": 1, "b": {"c": 2}}, "sensitive_values": {"b": True}},
            ["values.b"],
        ),
        ({"body": json.dumps({"password": SECRET})}, ["body"]),
    ],
)
def test_what_is_marked_or_named_as_sensitive_is_found(value, paths):
    assert list_paths(value) == paths
    assert SECRET not in json.dumps(mask(value))


@pytest.mark.parametrize(
    "value",
    [
        {"password": ""},
        {"password": None, "token": False},
        {"next_page_token": "abc", "max_tokens": 100, "token_count": 3},
        {"secret": {"secretName": "tls"}, "secret_arn": "arn:aws:x", "password_policy": "strict"},
        {"kind": "ConfigMap", "data": {"a": "b"}},
        {"after": {"a": 1}, "after_sensitive": {}, "before": None, "before_sensitive": False},
        {"body": '{"user": "key"}', "note": "{password"},
        ["password"],
    ],
)
def test_what_is_not_sensitive_stays(value):
    assert find_sensitive(value) == []
    assert mask(value) is value


def test_a_mask_says_how_long_the_value_is():
    assert mask({"password": "x" * 24}) == {"password": "••• sensitive, 24 characters"}


def test_of_a_plan_it_says_that_the_value_changes_and_nothing_else():
    plan = load("plan_sensitive")
    masked = mask(plan)
    text = json.dumps(masked)
    assert "old-Passw0rd" not in text
    assert "new-Passw0rd" not in text
    change = masked["resource_changes"][0]["change"]
    assert change["before"]["password"] == "••• sensitive, 12 characters"
    assert change["after"]["password"] == "••• sensitive, 14 characters, changed"
    assert masked["output_changes"]["admin_password"]["after"].endswith("changed")
    assert change["after"]["engine"] == "postgres"


def test_of_two_versions_it_says_that_the_value_changed():
    old, new = {"password": "aaaa", "n": 1}, {"password": "bbbb", "n": 1}
    assert mask(new, old) == {"password": "••• sensitive, 4 characters, changed", "n": 1}
    assert mask(new, new)["password"] == mask(new)["password"]


def test_an_edited_payload_gets_back_what_was_masked():
    payload = {"a": [{"password": SECRET, "host": "x"}], "token": "abc"}
    edited = mask(payload)
    edited["a"][0]["host"] = "y"
    assert restore(edited, payload) == {"a": [{"password": SECRET, "host": "y"}], "token": "abc"}


def test_a_new_value_in_place_of_a_mask_is_taken():
    assert restore({"password": "new"}, {"password": SECRET}) == {"password": "new"}


@pytest.mark.parametrize("edited", [{"other": "••• sensitive, 15 characters"}, {}])
def test_a_mask_elsewhere_is_refused(edited):
    payload = {"password": SECRET}
    if not edited:
        assert restore(edited, payload) == {}
        return
    with pytest.raises(ValueError, match="can't be moved"):
        restore(edited, payload)


def test_no_fact_repeats_a_sensitive_value():
    data = {"command": f"mysql -p{SECRET} -e 'DROP TABLE t'", "password": SECRET}
    assert hide_values([data["command"]], data) == ["mysql -p••• -e 'DROP TABLE t'"]
    summary = summarize_data(data)
    assert summary.facts
    assert SECRET not in str(summary)


NAMES = [
    "password",
    "before",
    "after",
    "before_sensitive",
    "after_sensitive",
    "a",
    "kind",
    "data",
    "value",
    "name",
    "sensitive",
    "values",
    "sensitive_values",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(NAMES) | st.text(max_size=4),
            inner | st.just("Secret") | st.just(True),
            max_size=5,
        )
    ),
    max_leaves=30,
)


@given(JSON)
def test_whatever_is_masked_can_be_put_back(value):
    paths = find_sensitive(value)
    masked = mask(value)
    for path in paths:
        assert isinstance(find(masked, path), str)
    assert find_sensitive(value) == paths
    assert restore(masked, value) == value
