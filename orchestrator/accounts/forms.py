"""The forms for codes and passwords."""

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm

MAX_CODE_LENGTH = 40
MAX_USERNAME_LENGTH = 150


class CodeForm(forms.Form):
    """A code of an authenticator, or a recovery code."""

    code = forms.CharField(
        max_length=MAX_CODE_LENGTH,
        widget=forms.TextInput(
            attrs={
                "autocomplete": "one-time-code",
                "autocapitalize": "off",
                "spellcheck": "false",
                "autofocus": True,
            }
        ),
        error_messages={
            "required": "Enter the code.",
            "max_length": "This code is too long.",
        },
    )

    def refuse(self, sentence: str) -> None:
        """Show ``sentence`` as the field's error."""
        self.add_error("code", sentence)
        # A wrong code is not shown again.
        self.data = {}
        self.fields["code"].widget.attrs["aria-describedby"] = "id_code_error"


class PasswordForm(forms.Form):
    """The password of the signed-in person."""

    password = forms.CharField(
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
        error_messages={"required": "Enter your password."},
    )

    def refuse(self, sentence: str) -> None:
        """Show ``sentence`` as the field's error."""
        self.add_error("password", sentence)
        self.fields["password"].widget.attrs["aria-describedby"] = "id_password_error"


class SignInForm(AdminAuthenticationForm):
    """Username and password."""

    error_messages = AdminAuthenticationForm.error_messages | {
        "invalid_login": "Wrong username or password."
    }

    def clean_username(self) -> str:
        username: str = self.cleaned_data["username"]
        # No user has a longer name, so none is looked up.
        if len(username) > MAX_USERNAME_LENGTH:
            raise self.get_invalid_login_error()
        return username
