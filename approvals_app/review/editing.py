"""The editor of a payload: its simple values as fields, the rest as JSON, and what that changes."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from approvals_app.payload.diffs import Line, diff_lines
from approvals_app.payload.summary import summarize
from audit_app.base.text_safety import UNSEEN

MOST_FIELDS: Final = 20
LONGEST_FIELD: Final = 2_000
LONGEST_LINE: Final = 80
PREFIX: Final = "field."
PAYLOAD_FIELDS: Final = ("description", "data", "context")


class FieldInvalid(ValueError):
    """``name`` has no valid ``reason``."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name, self.reason = name, reason


@dataclass(frozen=True, slots=True)
class Field:
    """One simple value at the top of the data. ``kind``: text, long, number or boolean."""

    name: str
    value: str
    kind: str

    @property
    def input(self) -> str:
        """The name of the form's field."""
        return PREFIX + self.name


def list_fields(data: Any, written: Mapping[str, str] | None = None) -> list[Field]:
    """The fields for ``data``, at most MOST_FIELDS, with what is ``written`` in them by now."""
    if not isinstance(data, dict):
        return []
    written = written or {}
    fields = [
        Field(name, written.get(PREFIX + name, _write(value)), kind)
        for name, value in data.items()
        if (kind := _find_kind(value)) and not UNSEEN.search(name)
    ]
    return fields[:MOST_FIELDS]


def apply_fields(data: Any, original: Any, posted: Mapping[str, str]) -> Any:
    """``data`` with the fields that were changed from ``original``. Raises FieldInvalid."""
    if not isinstance(data, dict):
        return data
    changed = dict(data)
    for field in list_fields(original):
        text = posted.get(field.input)
        if text is None:
            continue
        text = text.replace("\r\n", "\n")
        if text != field.value:
            changed[field.name] = _read(field, text)
    return changed


def preview_changes(payload: Mapping[str, Any], changes: Mapping[str, Any]) -> list[Line]:
    """What ``changes`` would change in ``payload``, line by line."""
    before = {name: payload[name] for name in PAYLOAD_FIELDS}
    return diff_lines(before, before | {name: changes[name] for name in PAYLOAD_FIELDS})


def find_stale_numbers(payload: Mapping[str, Any], changes: Mapping[str, Any]) -> list[str]:
    """The numbers of the description that are in the data before ``changes`` and not after."""
    before = summarize(payload).strange_numbers
    after = summarize({**payload, **{name: changes[name] for name in PAYLOAD_FIELDS}})
    return [number for number in after.strange_numbers if number not in before]


def explain_json_error(text: str) -> str:
    """What keeps ``text`` from being JSON, as ``Line 2: remove the extra comma.``; "" if nothing
    does that Python's parser knows."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        before = text[: error.pos].rstrip()
        if before.endswith(",") and text[error.pos : error.pos + 1] in ("}", "]", ",", ""):
            return f"Line {before.count(chr(10)) + 1}: remove the extra comma."
        for pattern, advice in ADVICE:
            if re.match(pattern, error.msg):
                return f"Line {error.lineno}: {advice}"
        return f"Line {error.lineno}: this is not JSON."
    except RecursionError:
        return "It is nested too deeply."
    return ""


ADVICE: Final = (
    (r"Illegal trailing comma", "remove the extra comma."),
    (r"Expecting property name", "put the name in double quotes."),
    (r"Expecting ',' delimiter", "a comma, or a closing bracket, is missing before this."),
    (r"Expecting ':' delimiter", "a colon is missing after the name."),
    (r"Unterminated string", "the closing quotation mark is missing."),
    (r"Invalid control character", "write a line break in a text as \\n."),
    (r"Invalid \\", "write a backslash as \\\\."),
    (r"Extra data", "remove what follows the end."),
    (r"Expecting value", "a value is missing, or a text is not in double quotes."),
)


def _find_kind(value: Any) -> str:
    """How ``value`` can be edited in a field; "" if only as JSON."""
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str() if _survives_a_form(value):
            return "long" if "\n" in value or len(value) > LONGEST_LINE else "text"
        case _:
            return ""


def _survives_a_form(text: str) -> bool:
    # Browsers change line breaks and drop the first one of a textarea.
    return len(text) <= LONGEST_FIELD and not UNSEEN.search(text) and not text.startswith("\n")


def _write(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _read(field: Field, text: str) -> Any:
    if field.kind in ("text", "long"):
        return text
    if field.kind == "boolean":
        return text == "true"
    try:
        number = json.loads(text)
    except ValueError:
        number = None
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise FieldInvalid(field.input, "Write a number, such as 9020.50.")
    return number
