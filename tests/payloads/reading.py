"""Reads the example payloads of this folder."""

import json
from pathlib import Path
from typing import Any

from approvals_app.payload.facts import Fact
from approvals_app.payload.summary import Summary, summarize

FOLDER = Path(__file__).parent


def load(name: str) -> Any:
    """The ``data`` of the payload called ``name``."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def summarize_data(data: Any, description: str = "", task_type: str = "task") -> Summary:
    """The summary of a task with this ``data``."""
    return summarize(
        {"data": data, "description": description, "context": {}, "task_type": task_type}
    )


def say(fact: Fact) -> str:
    """``danger destroyed: aws_db_instance.main``."""
    return f"{fact.level.value} {fact.label}: {fact.value}"


def facts_of(name: str) -> list[str]:
    """The facts of the payload called ``name``, each as one text."""
    return [say(fact) for fact in summarize_data(load(name)).facts]
