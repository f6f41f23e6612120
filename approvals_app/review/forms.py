"""What reviewers send, as it is read."""

from io import BytesIO
from types import SimpleNamespace
from typing import Any

from django import forms
from rest_framework.exceptions import APIException
from rest_framework.settings import api_settings

LONGEST_NOTES = 20_000
MAX_EDITED = 1_000_000
SAID = ("approve", "reject", "request_changes", "withdraw_vote", "delegate", "break_glass")
WORDS_NEEDED = {
    "request_changes": "Write in the comment what should change.",
    "break_glass": "Give the reason for the emergency.",
}


class DecisionForm(forms.Form):
    """What a reviewer sends: what they want to be done, of which payload, and what they say."""

    decision = forms.ChoiceField(
        choices=[(name, name) for name in SAID],
        error_messages={"required": "Choose Approve or Reject."},
    )
    payload_digest = forms.RegexField(r"^[0-9a-f]{64}\Z")
    notes = forms.CharField(required=False, max_length=LONGEST_NOTES, strip=False)
    to = forms.CharField(required=False, max_length=150)
    typed = forms.CharField(required=False, max_length=LONGEST_NOTES)

    def clean_notes(self) -> str:
        """A browser sends every line break as two characters; people meant one."""
        notes: str = self.cleaned_data["notes"]
        return notes.replace("\r\n", "\n").strip()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        wanted = WORDS_NEEDED.get(cleaned.get("decision", ""))
        if wanted and not cleaned.get("notes") and "notes" not in self.errors:
            raise forms.ValidationError(wanted)
        return cleaned


class EditForm(forms.Form):
    """Another payload, and why."""

    payload_digest = forms.RegexField(r"^[0-9a-f]{64}\Z")
    description = forms.CharField(required=False, max_length=LONGEST_NOTES, strip=False)
    data_json = forms.CharField(max_length=MAX_EDITED, strip=False)
    context_json = forms.CharField(max_length=MAX_EDITED, strip=False)
    notes = forms.CharField(required=False, max_length=LONGEST_NOTES, strip=False)

    clean_notes = DecisionForm.clean_notes

    def clean_description(self) -> str:
        text: str = self.cleaned_data["description"]
        return text.replace("\r\n", "\n")

    def clean_data_json(self) -> Any:
        return self._object("data")

    def clean_context_json(self) -> Any:
        return self._object("context")

    def _object(self, name: str) -> Any:
        """The JSON of a field, as strictly as the API reads it."""
        body = self.cleaned_data[f"{name}_json"].encode(errors="surrogatepass")
        parsers: Any = api_settings.DEFAULT_PARSER_CLASSES
        request = SimpleNamespace(META={"CONTENT_LENGTH": len(body)})
        try:
            return parsers[0]().parse(BytesIO(body), None, {"request": request})
        except APIException as error:
            raise forms.ValidationError(f"The {name}: {error.detail}") from None
