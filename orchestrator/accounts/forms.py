"""What people type to prove who they are."""

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.models import User
from unfold.forms import AdminOwnPasswordChangeForm

from audit_app.base.connections import release_connection

LONGEST_CODE = 40
LONGEST_USERNAME = 150


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
            "required": "Enter the code.",
            "max_length": "This code is too long.",
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
        error_messages={"required": "Enter your password."},
    )

    def refuse(self, sentence: str) -> None:
        self.add_error("password", sentence)
        self.fields["password"].widget.attrs["aria-describedby"] = "id_password_error"


class SignInForm(AdminAuthenticationForm):
    """Username and password; what is longer than any name is nobody's, and is not looked up."""

    error_messages = AdminAuthenticationForm.error_messages | {
        "invalid_login": "Wrong username or password."
    }

    def clean_username(self) -> str:
        username: str = self.cleaned_data["username"]
        if len(username) > LONGEST_USERNAME:
            raise self.get_invalid_login_error()
        return username


class PasswordChangeForm(AdminOwnPasswordChangeForm):  # type: ignore[misc]  # untyped library
    """The admin's own, which holds no database connection while it hashes."""

    def clean_old_password(self) -> str:
        release_connection()
        given: str = super().clean_old_password()
        return given

    def save(self, commit: bool = True) -> User:
        release_connection()
        user: User = super().save(commit)
        return user
