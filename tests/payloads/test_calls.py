"""Calls of APIs that delete or stop something."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals_app.payload.facts import find
from approvals_app.payload.kinds import calls
from tests.payloads.reading import change_anything, check_readings, facts_of, load, summarize_data

pytestmark = pytest.mark.pure

FACTS = {
    "aws_terminate_instances": ["danger deletes: ec2 TerminateInstances: i-0a1, i-0b2"],
    "aws_delete_db_instance": [
        "danger deletes: rds delete_db_instance: orders-prod",
        "danger how: no final snapshot",
        "danger how: its backups, too",
    ],
    "aws_delete_objects": ["danger deletes: s3 DeleteObjects: ledger, 2025/a.csv, 2025/b.csv"],
    "aws_schedule_key_deletion": ["danger deletes: kms ScheduleKeyDeletion: alias/orders"],
    "mcp_delete_file": ["danger deletes: files delete_file: /srv/report.pdf"],
    "gcp_delete_instance": ["danger deletes: compute.instances.delete: shop-prod, db-1"],
    "github_delete_repository": ["danger deletes: DELETE https://api.github.com/repos/acme/shop"],
    "action_delete": ["danger deletes: delete: crm-backup-2025"],
    "aws_stop_instances": ["notice stops: ec2 StopInstances: i-0a1"],
}
DESTROYS = {
    "aws_terminate_instances": 2,
    "aws_delete_db_instance": 1,
    "github_delete_repository": 1,
    "aws_stop_instances": 0,
}


@pytest.mark.parametrize("name", FACTS)
def test_says_what_is_deleted(name: str) -> None:
    facts = facts_of(name)
    assert [fact for fact in FACTS[name] if fact not in facts] == [], facts


@pytest.mark.parametrize("name", DESTROYS)
def test_policies_get_the_number(name: str) -> None:
    assert summarize_data(load(name)).traits["destroys"] == DESTROYS[name]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("aws_terminate_instances", ("parameters", "InstanceIds")),
        ("aws_delete_objects", ("Parameters", "Delete", "Objects")),
    ],
)
def test_one_more_changes_the_summary(name: str, path: tuple[str, ...]) -> None:
    data = load(name)
    before = summarize_data(data)
    things = find(data, path)
    things.append({"Key": "new"} if isinstance(things[0], dict) else "i-new")
    after = summarize_data(data)
    assert after.facts != before.facts
    assert after.traits["destroys"] == before.traits["destroys"] + 1


def test_a_dry_run_destroys_nothing() -> None:
    data = load("aws_terminate_instances")
    data["parameters"]["DryRun"] = True
    summary = summarize_data(data)
    assert summary.traits["destroys"] == 0
    assert summary.level == "notice"


@pytest.mark.parametrize(
    "data",
    [
        {"Effect": "Allow", "Action": "s3:DeleteBucket", "Resource": "*"},
        {"action": "deleted", "repository": {"name": "shop"}},
        {"action": "remove"},
        {"method": "DELETE"},
        {"method": "delete", "path": "x"},
        {"operation": "DescribeInstances", "parameters": {"InstanceIds": ["i-1"]}},
        {"operation": 5, "parameters": {}},
    ],
)
def test_what_deletes_nothing_is_left_alone(data: dict[str, Any]) -> None:
    assert "call" not in summarize_data(data).kinds


def read_all(data: Any) -> Any:
    reading = calls.read(data, ())
    return [((), reading)] if reading else []


MEMBERS = st.sampled_from(
    [
        *calls.OPERATIONS,
        *calls.PARAMETERS,
        *calls.ADDRESSES,
        "method",
        "service",
        "InstanceIds",
        "Key",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["DeleteBucket", "delete", "DELETE", "a/b", "ec2"])
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(MEMBERS | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(MEMBERS, JSON, max_size=5))
@settings(deadline=None)
def test_any_json_is_read(data: dict[str, Any]) -> None:
    check_readings(read_all, data)


@given(st.sampled_from([load(name) for name in FACTS]), st.data())
@settings(deadline=None)
def test_any_change_is_read(example: Any, data: st.DataObject) -> None:
    changed = change_anything(example, JSON, data)
    check_readings(read_all, changed)
