"""Lists of similar objects: their columns, their sum, and the rows that are unlike the others."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from approvals_app.payload.facts import count

Row = dict[str, Any]

MOST_COLUMNS: Final = 12
AMOUNT: Final = re.compile(
    r"amount|total|sum|price|cost|fee|value|betrag|amt|debit|credit", re.IGNORECASE
)
CURRENCY: Final = re.compile(r"(?:^|_)(?:currency|ccy)(?:_?code)?$", re.IGNORECASE)
NUMBER: Final = re.compile(r"-?\d{1,18}(?:\.\d{1,9})?")
MOST_CURRENCIES: Final = 5
MOST_UNUSUAL: Final = 10
"""Rows of one table that are called unusual; where there are more, being unlike is usual."""


def find_columns(value: Sequence[Any]) -> list[str]:
    """The columns of a list of similar flat objects; empty if the list is not a table."""
    if len(value) < 2 or not all(isinstance(item, dict) and item for item in value):
        return []
    names = list(dict.fromkeys(name for item in value for name in item))
    if len(names) > MOST_COLUMNS or not all(len(item) * 2 >= len(names) for item in value):
        return []
    plain = all(not isinstance(cell, dict | list) for item in value for cell in item.values())
    return names if plain else []


def describe_total(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """``30 items, amount in all 987,900.00 EUR (largest 985,000.00)``; "" without an amount."""
    name = _find_amount(rows, columns)
    if not name:
        return ""
    amounts = _group_amounts(rows, columns, name)
    if len(amounts) > MOST_CURRENCIES:
        return f"{count(len(rows), 'item')}, {name} in {len(amounts):,} currencies"
    words = (
        f"{sum(each.values()):,} {currency}".rstrip() + f" (largest {max(each.values()):,})"
        for currency, each in amounts.items()
    )
    return f"{count(len(rows), 'item')}, {name} in all {' and '.join(words)}"


def find_unusual_rows(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The rows with the largest amount, and those with a value that all others have otherwise."""
    if name := _find_amount(rows, columns):
        groups = list(_group_amounts(rows, columns, name).values())
        for amounts in groups[:MOST_CURRENCIES]:
            yield max(amounts, key=lambda at: amounts[at]), "largest"
    found = []
    for column in columns:
        values = [json.dumps(row.get(column)) for row in rows]
        usual, times = Counter(values).most_common(1)[0]
        # One or two in a table, not every other row.
        if times < len(rows) and times >= len(rows) * 0.9:
            found += [(at, f"other {column}") for at, each in enumerate(values) if each != usual]
    yield from found[:MOST_UNUSUAL]


def _find_amount(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The first column that is named like an amount and has nothing but plain numbers."""
    for name in columns:
        if AMOUNT.search(name) and all(is_number(row[name]) for row in rows if name in row):
            return name
    return ""


def _group_amounts(
    rows: Sequence[Row], columns: Sequence[str], name: str
) -> dict[str, dict[int, Decimal]]:
    """The amounts in the column ``name`` by currency, each by the index of its row."""
    unit = next((each for each in columns if CURRENCY.search(each)), "")
    amounts: dict[str, dict[int, Decimal]] = defaultdict(dict)
    for at, row in enumerate(rows):
        if name in row:
            amounts[str(row.get(unit) or "").strip()][at] = Decimal(str(row[name]))
    return amounts


def is_number(value: Any) -> bool:
    """Whether ``value`` is a number, or a text, that can be added up without a doubt."""
    return (
        not isinstance(value, bool)
        and isinstance(value, str | int | float)
        and bool(NUMBER.fullmatch(str(value)))
    )
