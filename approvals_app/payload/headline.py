"""What a task is about, in a few words: for lists and messages."""

import re
from typing import Any

from audit_app.base.text_safety import shorten
from sessions_app.models import Task

AMOUNT = re.compile(r"-?[0-9][0-9., ]{0,20}")
CURRENCY = re.compile(r"[A-Za-z]{3}|[€$£¥]")


def format_amount(value: Any, currency: Any) -> str:
    """The amount with its currency; "" where ``value`` is not clearly an amount."""
    if not AMOUNT.fullmatch(str(value)):
        return ""
    has_currency = isinstance(currency, str) and CURRENCY.fullmatch(currency)
    return f"{value} {currency}" if has_currency else str(value)


def summarize(task: Task, length: int) -> str:
    """The start of the agent's description, or the type of the task and its amount."""
    if task.description.strip():
        return shorten(task.description, length)
    data = task.data if isinstance(task.data, dict) else {}
    amount = format_amount(data.get("amount"), data.get("currency"))
    words = task.task_type.replace("_", " ")
    return shorten(f"{words}, {amount}" if amount else words, length)
