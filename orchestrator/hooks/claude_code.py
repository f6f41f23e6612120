"""Claude Code's hooks, translated: a tool call as it arrives, and the decision as it is answered.

Claude Code goes on with the call where the answer is not a 2xx, not JSON, or late. So whatever is
refused is refused by a decision, in a 200.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from rest_framework import serializers

from audit_app.http.serializers import JSONObjectField, NameField, TextField
from sessions_app.tasks.routing import NewTask

Json = dict[str, Any]

EVENTS: Final = ("PreToolUse", "PermissionRequest")
TASK_TYPE: Final = "claude-code."
LONGEST_REASON: Final = 2_000
EDITED_TEXTS: Final = ("old_string", "new_string")
LONGEST_EDIT: Final = 100_000
"""Characters; a diff of longer texts would take too long, and the texts are shown as they are."""


class Behavior(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class CallSerializer(serializers.Serializer[Any]):
    """What Claude Code sends of a tool call. It sends more, which is ignored."""

    hook_event_name = serializers.ChoiceField(EVENTS)
    tool_name = NameField(max_length=100)
    tool_input = JSONObjectField()
    session_id = TextField(required=False, allow_blank=True, max_length=200)
    cwd = TextField(required=False, allow_blank=True, max_length=4_096)
    tool_use_id = TextField(required=False, allow_blank=True, max_length=200)


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call that waits for a decision."""

    event: str
    tool: str
    input: Json
    session: str
    cwd: str
    use: str
    """Names this very call; empty with PermissionRequest."""

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Call":
        """The call in a validated body."""
        return cls(
            given["hook_event_name"],
            given["tool_name"],
            given["tool_input"],
            given.get("session_id", ""),
            given.get("cwd", ""),
            given.get("tool_use_id", ""),
        )

    def as_task(self, to_role: str, key: str) -> NewTask:
        """The task that stands for it; equal calls of a session have the same payload."""
        return NewTask(
            to_role=to_role,
            task_type=f"{TASK_TYPE}{self.tool}",
            description=f"Claude Code wants to use {self.tool}.",
            data=self.as_data(),
            context={"claude_code_session": self.session} if self.session else {},
            idempotency_key=key,
        )

    def as_data(self) -> Json:
        """What people and policies see of it."""
        data: Json = {"tool": self.tool, "input": self.input}
        if self.cwd:
            data["cwd"] = self.cwd
        if diff := self._draw_diff():
            data["diff"] = diff  # which reviewers can read, unlike two texts
        return data

    def _draw_diff(self) -> str:
        path = self.input.get("file_path")
        edits = self.input.get("edits", [self.input])
        if not isinstance(path, str) or not isinstance(edits, list):
            return ""
        pairs = [tuple(edit.get(name) for name in EDITED_TEXTS) for edit in edits if _is_edit(edit)]
        if len(pairs) != len(edits) or sum(len(text) for pair in pairs for text in pair) > (
            LONGEST_EDIT
        ):
            return ""
        hunks = [line for old, new in pairs for line in _diff(old, new)]
        return "\n".join([f"--- {path}", f"+++ {path}", *hunks]) + "\n" if hunks else ""


def _is_edit(edit: Any) -> bool:
    return isinstance(edit, dict) and all(isinstance(edit.get(n), str) for n in EDITED_TEXTS)


def _diff(old: str, new: str) -> list[str]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="")
    return list(lines)[2:]  # without the two lines that name files


def answer(
    event: Any, behavior: Behavior, reason: str, *, updated_input: Json | None = None
) -> Json:
    """The decision on a call, as its event wants it."""
    reason = reason[:LONGEST_REASON]
    updated: Json = {} if updated_input is None else {"updatedInput": updated_input}
    if event == "PreToolUse":
        decision = {"permissionDecision": behavior.value, "permissionDecisionReason": reason}
        return {"hookSpecificOutput": {"hookEventName": event, **decision, **updated}}
    if event == "PermissionRequest":
        message = {"message": reason} if behavior is Behavior.DENY else {}
        request = {"behavior": behavior.value, **message, **updated}
        return {"hookSpecificOutput": {"hookEventName": event, "decision": request}}
    # Nobody knows what was asked: every event understands that all has to stop.
    return {"continue": False, "stopReason": reason}
