"""The reviewers' forms."""

import json
from collections.abc import Mapping
from io import BytesIO
from types import SimpleNamespace
from typing import Any, ClassVar

from django import forms
from rest_framework.exceptions import APIException
from rest_framework.settings import api_settings

from approvals_app.review import editing

LONGEST_NOTES = 20_000
LONGEST_JSON = 1_000_000
LONGEST_ASSERTION = 40_000
DECISIONS = (
    "approve",
    "reject",
    "request_changes",
    "withdraw_vote",
    "delegate",
    "take_back",
    "break_glass",
    "recall_cancel",
    "recall_wait",
)
REQUIRED_COMMENTS = {
    "reject": "Write in the comment why you reject it: the agent reads it.",
    "request_changes": "Write in the comment what should change.",
    "break_glass": "Give the reason for the emergency.",
    "recall_cancel": "Say why you recall the approval.",
    "recall_wait": "Say why you recall the approval.",
}


class DecisionForm(forms.Form):
    """A reviewer's action on one payload, with their comment."""

    required_comments: ClassVar[Mapping[str, str]] = REQUIRED_COMMENTS
    decision = forms.ChoiceField(
        choices=[(name, name) for name in DECISIONS],
        error_messages={"required": "Choose Approve or Reject."},
    )
    payload_digest = forms.RegexField(r"^[0-9a-f]{64}\Z")
    notes = forms.CharField(required=False, max_length=LONGEST_NOTES, strip=False)
    to = forms.CharField(required=False, max_length=150)
    typed = forms.CharField(required=False, max_length=LONGEST_NOTES)
    confirmed = forms.BooleanField(required=False)
    delegation = forms.UUIDField(required=False)
    assertion = forms.CharField(required=False, max_length=LONGEST_ASSERTION)

    def clean_notes(self) -> str:
        notes: str = self.cleaned_data["notes"]
        # Browsers send every line break of a textarea as CRLF.
        return notes.replace("\r\n", "\n").strip()

    def clean_assertion(self) -> dict[str, Any] | None:
        """The passkey's answer; None without one."""
        text: str = self.cleaned_data["assertion"]
        try:
            answer = json.loads(text) if text else None
        except (ValueError, RecursionError):
            answer = {"": text}  # no assertion at all, which the operation says
        return answer if isinstance(answer, dict) else None

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        required_comment = self.required_comments.get(cleaned.get("decision", ""))
        if required_comment and not cleaned.get("notes") and "notes" not in self.errors:
            self.add_error("notes", required_comment)
        return cleaned


class BulkDecisionForm(DecisionForm):
    """One decision on many payloads."""

    required_comments: ClassVar[Mapping[str, str]] = {}


class EditForm(forms.Form):
    """An edited payload, and the reason for the edit."""

    payload_digest = forms.RegexField(r"^[0-9a-f]{64}\Z")
    description = forms.CharField(required=False, max_length=LONGEST_NOTES, strip=False)
    data_json = forms.CharField(max_length=LONGEST_JSON, strip=False)
    context_json = forms.CharField(max_length=LONGEST_JSON, strip=False)
    notes = forms.CharField(required=False, max_length=LONGEST_NOTES, strip=False)
    action = forms.CharField(required=False, max_length=10)
    warned = forms.CharField(required=False, max_length=LONGEST_NOTES)

    clean_notes = DecisionForm.clean_notes

    def clean_description(self) -> str:
        text: str = self.cleaned_data["description"]
        return text.replace("\r\n", "\n")

    def clean_data_json(self) -> Any:
        return self._object("data")

    def clean_context_json(self) -> Any:
        return self._object("context")

    def _object(self, name: str) -> Any:
        """Parse a field's JSON. Raises ValidationError."""
        # The API's own parser, so that the form accepts nothing that the API refuses.
        body = self.cleaned_data[f"{name}_json"].encode(errors="surrogatepass")
        parsers: Any = api_settings.DEFAULT_PARSER_CLASSES
        request = SimpleNamespace(META={"CONTENT_LENGTH": len(body)})
        try:
            return parsers[0]().parse(BytesIO(body), None, {"request": request})
        except APIException as error:
            text = self.cleaned_data[f"{name}_json"]
            raise forms.ValidationError(
                editing.explain_json_error(text) or str(error.detail)
            ) from None
