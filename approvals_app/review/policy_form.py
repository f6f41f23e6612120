"""A policy as a form, or as YAML: both ways say the same.

The form has a field for every member of the language, and fields of their own for conditions on
amounts, destruction and recipients. Any other condition is its text.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.http import QueryDict

from approvals_app.policy.clauses import build_condition, split_condition
from approvals_app.policy.files import FileInvalid, dump, parse_file
from approvals_app.policy.language import (
    NO,
    NORMAL,
    REJECT,
    Policy,
    RuleInvalid,
)
from sessions_app.gate import Outcome

FORM: Final = "form"
YAML: Final = "yaml"
LONGEST_TEXT: Final = 100_000
MOST_ROWS: Final = 40
EMPTY_ROWS: Final = 1
GLOBS: Final = ("task_type", "from_role", "to_role")
LENGTHS: Final = ("deadline", "valid_for", "look_for")
TEXTS: Final = (*LENGTHS, "on_timeout", "risk", "type_out", "instructions", "signed")
"""Members that are texts, of policies that require approval."""
LABELS: Final = {
    "name": "Name",
    "priority": "Priority",
    "description": "Description",
    "task_type": "Task type",
    "from_role": "From role",
    "to_role": "To role",
    "condition": "Condition",
    "amount_above": "Amount above",
    "amount_up_to": "Amount up to",
    "currency": "Currency",
    "recipients_above": "Recipients above",
    "then": "What happens",
    "approvals": "Who approves",
    "deny_threshold": "Rejections that end it",
    "deadline": "Answer within",
    "reminders": "Reminders",
    "escalate": "Who is asked next",
    "on_timeout": "If nobody answers",
    "valid_for": "Approval valid for",
    "risk": "Risk",
    "look_for": "Viewing time before approving",
    "type_out": "Value to type",
    "instructions": "Instructions",
    "signed": "Signed votes",
}

Values = dict[str, Any]
"""What the fields hold: texts by name, and lists of rows for approvals and escalate."""


class DraftInvalid(ValueError):
    """What was filled in is no policy. The message says why; ``field`` names the field, if any."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


@dataclass(slots=True)
class Draft:
    """A policy that somebody writes, as it stands in the form or as YAML.

    ``note`` says why the form can't show it.
    """

    mode: str = FORM
    values: Values = field(default_factory=dict)
    text: str = ""
    note: str = ""

    @classmethod
    def start(cls, priority: int) -> "Draft":
        """An empty form, with ``priority``."""
        return cls(values=_fill(None) | {"priority": str(priority)})

    @classmethod
    def of(cls, policy: Policy, mode: str = FORM) -> "Draft":
        """``policy`` in the form, or as YAML where the form can't show it."""
        note = _find_obstacle(policy)
        draft = cls(YAML if note else mode, text=dump(policy), note=note)
        if draft.mode == FORM:
            draft.values = _fill(policy)
        return draft

    @classmethod
    def read(cls, posted: QueryDict) -> "Draft":
        """What was posted. Raises DraftInvalid for what no browser sends."""
        if sum(map(len, posted.values())) > LONGEST_TEXT or any("\0" in v for v in posted.values()):
            raise DraftInvalid("The text is too long or invalid.")
        if posted.get("mode") != FORM:
            return cls(YAML, text=_normalize(posted.get("text", "")))
        return cls(FORM, _read_values(posted))

    def parse(self) -> Policy:
        """The policy. Raises DraftInvalid."""
        try:
            if self.mode == YAML:
                return parse_one(self.text)
            return Policy.parse(_build_document(self.values))
        except FileInvalid as error:
            raise DraftInvalid(str(error)) from None
        except RuleInvalid as error:
            name = re.split(r"[.\[]", error.data["field"].removeprefix("when."))[0]
            label = LABELS.get(name, error.data["field"])
            raise DraftInvalid(f"{label}: {error.data['reason']}", name) from None

    def switch(self, mode: str) -> "Draft":
        """The same policy in the other way to write. Raises DraftInvalid."""
        return Draft.of(self.parse(), mode)


def parse_one(text: str) -> Policy:
    """Parse ``text``, the YAML of one policy. Raises FileInvalid."""
    # The page has one policy's document; the parser reads files of several.
    indented = "\n".join(f"    {line}" for line in text.splitlines())
    try:
        (policy,) = parse_file(f"policies:\n  -\n{indented}\n")
    except ValueError as error:
        if isinstance(error, FileInvalid):
            raise FileInvalid(_shift_line_number(str(error))) from None
        raise FileInvalid("Write exactly one policy.") from None
    return policy


def _shift_line_number(message: str) -> str:
    """The message, with its line counted from where the reader's own text begins."""
    # parse_one puts two lines before it.
    head, _, rest = message.partition(": ")
    if head.startswith("Line ") and head[5:].isdigit():
        return f"Line {max(1, int(head[5:]) - 2)}: {rest}"
    return rest if head.startswith("The policy at line") else message


def _fill(policy: Policy | None) -> Values:
    """The fields of ``policy``, or those of a new one."""
    document = policy.as_document() if policy else {}
    values: Values = dict.fromkeys((*LABELS, "destroys", "as_root"), "")
    values |= {name: str(document.get(name, "")) for name in ("name", "priority", "description")}
    when = document.get("when", {})
    values |= {name: when.get(name, "") for name in GLOBS}
    values |= split_condition(when.get("condition", ""))
    values |= {name: document.get(name, "") for name in TEXTS}
    values["then"] = document.get("then", Outcome.REQUIRE.value)
    values["risk"] = values["risk"] or NORMAL
    values["signed"] = values["signed"] or NO
    values["on_timeout"] = values["on_timeout"] or REJECT
    values["deny_threshold"] = str(document.get("deny_threshold", ""))
    values["reminders"] = ", ".join(document.get("reminders", ()))
    values["approvals"] = [_show(row, "role", "count") for row in document.get("approvals", ())]
    values["escalate"] = [
        _show(row, "role", "count", "deadline") for row in document.get("escalate", ())
    ]
    return values


def _show(row: Mapping[str, Any], *names: str) -> dict[str, str]:
    return {name: str(row[name]) for name in names}


def _read_values(posted: QueryDict) -> Values:
    values: Values = {
        name: _normalize(posted.get(name, "")).strip() for name in (*LABELS, "destroys", "as_root")
    }
    values["description"] = _normalize(posted.get("description", ""))
    values["approvals"] = _read_rows(posted, role="role", count="count")
    values["escalate"] = _read_rows(
        posted, role="next_role", count="next_count", deadline="next_deadline"
    )
    return values


def _read_rows(posted: QueryDict, **names: str) -> list[dict[str, str]]:
    """Rows of fields of the same names; those without a group are left out."""
    columns = [posted.getlist(name)[:MOST_ROWS] for name in names.values()]
    rows = [
        {name: text.strip() for name, text in zip(names, cells, strict=True)}
        for cells in zip(*columns, strict=False)
    ]
    return [row for row in rows if row["role"]]


def _build_document(values: Values) -> dict[str, Any]:
    """The document of the policy, which may not be valid. Raises RuleInvalid."""
    when = {name: values[name] for name in GLOBS if values[name]}
    if condition := build_condition(values):
        when["condition"] = condition
    document: dict[str, Any] = {
        "name": values["name"],
        "description": values["description"],
        "priority": _read_number(values["priority"] or "0"),
        "when": when,
        "then": values["then"],
    }
    if values["then"] != Outcome.REQUIRE:
        return document
    document |= {name: values[name] for name in TEXTS if values[name]}
    if values["deny_threshold"]:
        document["deny_threshold"] = _read_number(values["deny_threshold"])
    if reminders := re.findall(r"[^\s,]+", values["reminders"]):
        document["reminders"] = reminders
    document["approvals"] = [_count(row) for row in values["approvals"]]
    if values["escalate"]:
        document["escalate"] = [_count(row) for row in values["escalate"]]
    return document


def _count(row: Mapping[str, str]) -> dict[str, Any]:
    return {**row, "count": _read_number(row["count"] or "1")}


def _read_number(text: str) -> int | str:
    """The number, or the text, which the language refuses with the reason."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def _find_obstacle(policy: Policy) -> str:
    """Why the form can't show ``policy``, in one sentence; "" if it can."""
    values = _fill(policy)
    texts = [value for value in values.values() if isinstance(value, str)]
    if any(_normalize(text) != text or text.strip() != text for text in texts):
        return "The form can't keep the blanks and line ends of this policy's texts."
    try:
        same = Policy.parse(_build_document(values)).as_document() == policy.as_document()
    except RuleInvalid as error:
        return f"The form can't show this policy: {error.data['field']}: {error.data['reason']}"
    return "" if same else "The form can't show all of this policy."


def _normalize(text: str) -> str:
    """``text`` with line ends as they are kept: browsers send both characters."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def suggest_priority(policies: Iterable[Policy]) -> int:
    """The next free priority after those in use, with room between."""
    return (max((policy.priority for policy in policies), default=0) // 10 + 1) * 10
