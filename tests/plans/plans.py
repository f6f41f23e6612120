"""What PostgreSQL would do with a statement, in a line: how it enters the big tables."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

BIG = {"sessions", "tasks", "approvals", "audit_events", "agent_keys", "request_receipts"}
EXPLAINED = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|\()", re.IGNORECASE)
ABOUT = re.compile(rf"\b({'|'.join(BIG)})\b")


def plans_of(action: Callable[[], Any]) -> list[Any]:
    """The plan of each statement about a big table that ``action`` sends."""
    with CaptureQueriesContext(connection) as sent:
        action()
    texts = [query["sql"] for query in sent.captured_queries]
    return [plan_of(text) for text in texts if EXPLAINED.match(text) and ABOUT.search(text)]


def plan_of(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement.replace('%', '%%')}", [])
        [(found,)] = cursor.fetchall()
    [plan] = json.loads(found) if isinstance(found, str) else found
    return plan["Plan"]


def describe_plan(plan: Any) -> str:
    """``tasks by tasks_status; approvals by approvals_task_id``: how each big table is entered, in
    the order of the plan. Small tables, and what is done with rows, may change with anything."""
    return "; ".join(dict.fromkeys(_find_entries(plan, ""))) or "nothing big"


def _find_entries(plan: Any, table: str) -> Iterator[str]:
    table = plan.get("Relation Name", table)
    for index in indexes_of(plan):
        if table in BIG:
            yield f"{table} by {index}"
    for each in plan.get("Plans", ()):
        yield from _find_entries(each, table)


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


def indexes_of(node: Any) -> list[str]:
    """Those that one node enters, without the hash that Django ends some names with."""
    named = [node["Index Name"]] if "Index Name" in node else []
    named += node.get("Conflict Arbiter Indexes", ())
    return [re.sub(r"_[0-9a-f]{8}(?=$|_like$|_uniq$)", "", name) for name in named]


def read_whole(plan: Any) -> set[str]:
    """The big tables that are read from one end to the other."""
    return {
        node["Relation Name"]
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in BIG
    }
