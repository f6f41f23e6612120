"""What people type to prove who they are."""

from django import forms

LONGEST_CODE = 40


class CodeForm(forms.Form):
    """A code of an authenticator, or a recovery code; a wrong one is not shown again."""

    code = forms.CharField(
        max_length=LONGEST_CODE,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "one-time-code",
                "autocapitalize": "off",
                "spellcheck": "false",
                "autofocus": True,
            }
        ),
        error_messages={
            "required": "Type the code.",
            "max_length": "That is longer than any code.",
        },
    )

    def refuse(self, sentence: str) -> None:
        """Ask for another code, and say why."""
        self.add_error("code", sentence)
        self.data = {}
        self.fields["code"].widget.attrs["aria-describedby"] = "id_code_error"


class PasswordForm(forms.Form):
    """The password of whoever is signed in already."""

    password = forms.CharField(
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
        error_messages={"required": "Type your password."},
    )

    def refuse(self, sentence: str) -> None:
        self.add_error("password", sentence)
        self.fields["password"].widget.attrs["aria-describedby"] = "id_password_error"
