"""What renderers take apart, and what they leave to the tree."""

from typing import Any

from approvals_app.payload.facts import Data

MOST_SHOWN = 100
"""Changes of a plan, and addresses of one kind, that are shown as such; the tree has the others."""


def without(data: Data, *names: str) -> dict[str, Any]:
    """The members of ``data`` that are not called any of ``names``."""
    return {name: value for name, value in data.items() if name not in names}


def list_texts(value: Any) -> list[str]:
    """A text or a list of texts, as a list; empty for anything else."""
    if isinstance(value, str) and value:
        return [value]
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return value
    return []
