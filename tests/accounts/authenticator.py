"""Somebody's telephone."""

import re
import time
from base64 import b32decode

from django.http import HttpResponse
from django_otp.oath import TOTP

from tests.accounts.conftest import Browser

PAGE = "/admin/second-factor/"


class Authenticator:
    """Shows the codes of a secret."""

    def __init__(self, secret: str) -> None:
        self.key = b32decode(secret.replace(" ", ""))
        self.shown = ""

    def code(self, *, steps: int = 0) -> str:
        """The code of now, or of ``steps`` times thirty seconds later."""
        totp = TOTP(self.key)
        totp.time = time.time() + 30 * steps
        self.shown = f"{totp.token():06}"
        return self.shown

    def wrong(self) -> str:
        """A code that it does not show around now."""
        near = {self.code(steps=n) for n in range(-2, 3)}
        return next(f"{n:06}" for n in range(10) if f"{n:06}" not in near)


def set_up(window: Browser) -> tuple[Authenticator, list[str]]:
    """What a person does on the page; their telephone, and the recovery codes."""
    page = window.read(PAGE)
    telephone = Authenticator(re.search(r'<code class="o-whole">([A-Z2-7 ]+)<', page)[1])
    return telephone, recovery_codes(window.post(PAGE, code=telephone.code()))


def recovery_codes(answer: HttpResponse) -> list[str]:
    assert answer.status_code == 200, answer.content
    return re.findall(r"<code>([a-z2-7-]+)</code>", answer.content.decode())
