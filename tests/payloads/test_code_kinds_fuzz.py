"""Any JSON, and examples with anything in them: no kind of code raises or invents a path."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals_app.payload.facts import Level, find
from approvals_app.payload.kinds import command, patch, statement
from tests.payloads.reading import load

pytestmark = pytest.mark.pure

NAMES = sorted(
    file.stem
    for file in Path(__file__).parent.glob("*.json")
    if file.stem.startswith(("sql_", "cmd_", "git", "helm_", "kubectl_"))
)
MEMBERS = st.sampled_from(
    [
        *(*statement.ALWAYS_SQL, *statement.OFTEN_SQL, *statement.WHERE, *command.LINES),
        *(*command.SCRIPTS, *command.HOLDERS, *command.HOSTS, *command.ROOT_NAMES),
        *(*command.INPUTS, *command.ARGUMENTS, *patch.TEXTS, *patch.LISTS, *patch.NAMES),
        *("status", "securityContext", "additions", "deletions", "Parameters", "DocumentName"),
        *("kind", "change", "old_path"),
    ]
)
WORDS = """
DELETE FROM|DROP TABLE a|;|'|\\|$$|/*|*/|--|WHERE|1=1|(|)|ALTER TABLE a|ADD COLUMN|TYPE|,
|sudo|rm -rf|$(|`|<<EOF|EOF|&&|curl x|sh|>|diff --git a/b b/b|--- a|+++ b|@@ -1 +1 @@|"|{|}
|rename from a
|a, b, C (d) has been removed:|\0|é|\U0001f600
"""
PIECES = st.lists(
    st.tuples(
        st.sampled_from(WORDS.replace("\n|", "|").strip().split("|")), st.sampled_from(" \n")
    ),
    max_size=12,
).map(lambda pieces: "".join(word + end for word, end in pieces))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | PIECES
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(MEMBERS | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=20,
)


def check(data: Any) -> None:
    for kind in (statement, command, patch):
        reading = kind.read(data, ("outer",))
        if reading is None:
            continue
        assert len(reading.facts) <= 7
        assert reading.used <= set(data)
        ranks = [list(Level).index(fact.level) for fact in reading.facts if fact.level != "plain"]
        assert ranks == sorted(ranks)
        for fact in reading.facts:
            assert fact.path[:1] == ("outer",)
            find({"outer": data}, fact.path)
            assert "\n" not in fact.value


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(MEMBERS, JSON, max_size=6))
def test_any_json(data: dict[str, Any]) -> None:
    check(data)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_changed_examples(drawn: Any) -> None:
    data = copy.deepcopy(load(drawn.draw(st.sampled_from(NAMES))))
    paths = [path for path, _ in walk(data)]
    path = drawn.draw(st.sampled_from(paths))
    find(data, path[:-1])[path[-1]] = drawn.draw(JSON)
    check(data)


def walk(value: Any, path: tuple[Any, ...] = ()) -> Any:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for step, inner in items:
        yield (*path, step), inner
        yield from walk(inner, (*path, step))
