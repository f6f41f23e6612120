"""Reads the example payloads of this folder."""

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from approvals_app.payload.facts import LONGEST_HEADLINE, MOST_FACTS, Fact, Reading, find
from approvals_app.payload.facts import Path as Steps
from approvals_app.payload.summary import Summary, summarize

ReadAll = Callable[[Any], list[tuple[Steps, Reading]]]
FOLDER = Path(__file__).parent


def load(name: str) -> Any:
    """The ``data`` of the payload called ``name``."""
    return json.loads((FOLDER / f"{name}.json").read_text())


NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def summarize_data(data: Any, description: str = "", now: datetime = NOW) -> Summary:
    """The summary at ``now`` of a task with this ``data``."""
    return summarize(
        {"data": data, "description": description, "context": {}, "task_type": "task"}, now
    )


def say(fact: Fact) -> str:
    """``danger destroyed: aws_db_instance.main``."""
    return f"{fact.level.value} {fact.label}: {fact.value}"


def check_readings(read_all: ReadAll, data: Any) -> None:
    """Check what holds for each reading of a kind, whatever the data is."""
    for path, reading in read_all(data):
        assert len(reading.facts) <= MOST_FACTS
        assert reading.used <= find(data, path).keys()
        assert len(reading.headline) <= LONGEST_HEADLINE
        for fact in reading.facts:
            assert fact.label
            assert fact.value
            assert "\n" not in fact.value
            for place in (fact.path, *fact.members):
                find(data, place)


def change_anything(example: Any, values: st.SearchStrategy[Any], data: st.DataObject) -> Any:
    """A copy of ``example`` with any value in one to three places."""
    changed = copy.deepcopy(example)
    for _ in range(data.draw(st.integers(1, 3))):
        holder = changed
        while keys := list(holder) if isinstance(holder, dict) else list(range(len(holder))):
            key = data.draw(st.sampled_from(keys))
            if not isinstance(holder[key], (dict, list)) or data.draw(st.booleans()):
                holder[key] = data.draw(values)
                break
            holder = holder[key]
    return changed


def facts_of(name: str) -> list[str]:
    """The facts of the payload called ``name``, each as one text."""
    return [say(fact) for fact in summarize_data(load(name)).facts]
