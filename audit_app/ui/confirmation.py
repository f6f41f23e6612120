"""Questions before an action that can't be undone."""

from typing import Any

from django import forms

MAX_REASON_LENGTH = 500


class ConfirmationForm(forms.Form):
    """Asks why. The reason is kept in the trail."""

    reason = forms.CharField(
        max_length=MAX_REASON_LENGTH,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Kept in the audit trail.",
    )


class TypedConfirmationForm(ConfirmationForm):
    """Also asks to type the name of what is ended for good."""

    name = forms.CharField(
        strip=True,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, expected: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.expected = expected
        self.fields["name"].label = f"Type {expected} to confirm"

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self.expected:
            raise forms.ValidationError(f"This is not {self.expected}. Nothing was changed.")
        return name
