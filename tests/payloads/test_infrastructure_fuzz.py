"""Summaries of infrastructure changes hold for any JSON: no error, and no path to nowhere."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals_app.payload.facts import Reading, find
from approvals_app.payload.kinds import changes, plan
from tests.payloads.reading import FOLDER, load

pytestmark = pytest.mark.pure

NAMES = sorted(
    path.stem
    for path in FOLDER.glob("*.json")
    if path.stem.startswith(
        ("plan_", "tofu_", "cfn_", "pulumi_", "ansible_", "helm_json", "helm_s")
    )
)
EXAMPLES = {name: load(name) for name in NAMES}
MEMBERS = st.sampled_from(
    [
        *("format_version", "resource_changes", "change", "actions", "address", "before", "after"),
        *("after_unknown", "replace_paths", "checks", "instances", "problems", "errored"),
        *("Changes", "ResourceChange", "Action", "Details", "Target", "steps", "op", "urn"),
        *("plays", "tasks", "hosts", "diff", "results", "stats", "kind", "changeType", "changes"),
    ]
)
TEXTS = st.sampled_from(
    ["delete", "create", "REMOVE", "1.2", "0.0.0.0/0", '{"Statement": 3}', '{"Statement": [', ""]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | TEXTS
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(MEMBERS | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def list_places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all members of ``value``."""
    items = list(value.items()) if isinstance(value, dict) else []
    items += list(enumerate(value)) if isinstance(value, list) else []
    return [
        place
        for step, inner in items
        for place in [(*path, step), *list_places(inner, (*path, step))]
    ]


PLACES = {name: list_places(data) for name, data in EXAMPLES.items()}


@given(st.dictionaries(MEMBERS | st.text(max_size=4), VALUES, max_size=5))
def test_any_object_is_read_without_an_error(data: dict[str, Any]) -> None:
    check_readings(data)


@given(st.data())
def test_an_example_with_any_value_changed_is_read(draw: st.DataObject) -> None:
    name = draw.draw(st.sampled_from(NAMES))
    data = copy.deepcopy(EXAMPLES[name])
    for _ in range(draw.draw(st.integers(1, 3))):
        *way, last = draw.draw(st.sampled_from(PLACES[name]))
        value = draw.draw(VALUES)
        try:
            find(data, tuple(way))[last] = value
        except (LookupError, TypeError):  # an earlier change took the place away
            continue
    check_readings(data)


@pytest.mark.parametrize("name", NAMES)
def test_each_fact_has_a_path_of_its_payload(name: str) -> None:
    assert check_readings(EXAMPLES[name])


@pytest.mark.parametrize("depth", [200, 990, 5_000])
def test_a_text_may_be_nested_more_deeply_than_a_payload(depth: int) -> None:
    policy = '{"Statement": [{"Principal": ' + "[" * depth + "]" * depth + "}]}"
    data = copy.deepcopy(EXAMPLES["plan_drift"])
    data["resource_changes"][0]["change"]["after"] = {"policy": policy, "publicaccess": policy}
    assert check_readings(data)
    check_readings({"plan": json.dumps(data).replace('"ami-1"', "[" * depth + "]" * depth)})


def check_readings(data: Any) -> list[Reading]:
    """Read ``data`` and check the promises that hold for every reading."""
    readings = [reading for read in (plan.read, changes.read) if (reading := read(data, ()))]
    for reading in readings:
        assert 0 < len(reading.facts) <= 7
        assert reading.used <= data.keys()
        for fact in reading.facts:
            find(data, fact.path)
            assert fact.label
            assert fact.value
            assert "\n" not in fact.value
    return readings
