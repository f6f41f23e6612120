"""Second factors: codes of an authenticator (TOTP, RFC 6238) and ten recovery codes.

django-otp stores them, refuses used codes and doubles the delay after each wrong one. We add a row
lock around reading, comparing and saving.
"""

import hashlib
import math
import re
import secrets
from base64 import b32encode
from binascii import unhexlify
from datetime import timedelta
from urllib.parse import quote, urlencode

import qrcode
import structlog
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django_otp.models import Device
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_otp.util import random_hex
from qrcode.image.svg import SvgPathImage

from approvals_app.decisions import passkeys
from orchestrator.accounts.lockout import CLOCK_SKEW

log = structlog.get_logger("orchestrator.accounts")

ISSUER = "Orchestrator"
RECOVERY_CODES = 10
RECOVERY_CODE_BYTES = 10
STEP_SECONDS = 30
TOLERANCE = 1
CODE = re.compile(r"[0-9]{6}")
RECOVERY_CODE = re.compile(r"[a-z2-7]{16}")


class WrongCode(Exception):
    """The code is wrong or was used before."""


class TooManyCodes(Exception):
    """After wrong codes, even a right one is refused for ``seconds``."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class AlreadyEnrolled(Exception):
    """The person has an authenticator already; it must be removed first."""


def is_enrolled(user: User) -> bool:
    """Whether ``user`` has set up an authenticator."""
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def has_any(user: User) -> bool:
    """Whether ``user`` has an authenticator or a passkey, and a password alone does not do."""
    return is_enrolled(user) or passkeys.has_active(user.pk)


def count_recovery_codes(user: User) -> int:
    """How many recovery codes ``user`` has left."""
    return int(StaticToken.objects.filter(device__user=user).count())


def new_secret() -> str:
    """Generate a secret: 20 random bytes in hex."""
    return str(random_hex(20))


def format_secret(secret: str) -> str:
    """``secret`` in base32, in groups of four, for typing into an authenticator."""
    text = b32encode(unhexlify(secret)).decode()
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def draw_qr_code(user: User, secret: str) -> SafeString:
    """The QR code of ``secret`` for an authenticator, as SVG without styles or scripts."""
    label = quote(f"{ISSUER}:{user.get_username()}")
    query = urlencode({"secret": b32encode(unhexlify(secret)).decode(), "issuer": ISSUER})
    image = qrcode.make(
        f"otpauth://totp/{label}?{query}", image_factory=SvgPathImage, box_size=10, border=2
    )
    svg: str = image.to_string().decode()
    return mark_safe(svg)  # noqa: S308  # squares and no text


def accept(user: User, typed: str) -> str:
    """Use up the code that ``user`` typed and return its device's id.

    Of two concurrent requests with one code, the row lock lets only the first use it. Raises
    WrongCode, TooManyCodes.
    """
    typed = re.sub(r"[\s-]", "", typed).lower()
    with transaction.atomic():
        device, token = _lock_device(user, typed)
        if device is None:
            raise WrongCode
        failed_at = device.throttling_failure_timestamp
        if failed_at and failed_at > timezone.now() + CLOCK_SKEW:
            device.throttle_reset(commit=False)  # a clock that ran ahead was set back
        allowed, reason = device.verify_is_allowed()
        if not allowed:
            wait: timedelta = reason["locked_until"] - timezone.now()
            raise TooManyCodes(max(1, math.ceil(wait.total_seconds())))
        is_right = device.verify_token(token)
    log.info("second factor", username=user.get_username(), kind=device.name, accepted=is_right)
    if not is_right:
        raise WrongCode
    return str(device.persistent_id)


def _lock_device(user: User, typed: str) -> tuple[Device | None, str]:
    """Lock the device that ``typed`` looks like a code of; return it with the token to verify."""
    if RECOVERY_CODE.fullmatch(typed):
        recovery = StaticDevice.objects.select_for_update().filter(user=user).first()
        return recovery, _hash(typed)
    device = TOTPDevice.objects.select_for_update().filter(user=user, confirmed=True).first()
    # Anything else counts as a wrong TOTP code, so that it is delayed like one.
    return device, typed if CODE.fullmatch(typed) else "wrong"


def enrol(user: User, secret: str, typed: str) -> tuple[str, list[str]]:
    """Add the authenticator with ``secret``, proved and used up by the code ``typed``. Returns the
    device's id and the recovery codes, which are never shown again.

    Of two concurrent tabs, the second gets AlreadyEnrolled. Raises WrongCode, AlreadyEnrolled.
    """
    code = re.sub(r"\s", "", typed)
    totp = TOTP(unhexlify(secret), STEP_SECONDS)
    if not CODE.fullmatch(code) or not totp.verify(int(code), TOLERANCE):
        raise WrongCode
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        if is_enrolled(user):
            raise AlreadyEnrolled
        device = TOTPDevice.objects.create(
            user=user,
            name="authenticator",
            key=secret,
            step=STEP_SECONDS,
            tolerance=TOLERANCE,
            drift=totp.drift,
            last_t=totp.t(),
        )
        codes = _new_recovery_codes(user)
    log.info("second factor set up", username=user.get_username())
    return str(device.persistent_id), codes


def renew_recovery_codes(user: User, typed: str) -> list[str]:
    """Replace the recovery codes by ten new ones. Raises WrongCode, TooManyCodes."""
    accept(user, typed)
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        codes = _new_recovery_codes(user)
    log.info("recovery codes renewed", username=user.get_username())
    return codes


def remove(user: User, typed: str) -> None:
    """Remove the authenticator and the recovery codes. Raises WrongCode, TooManyCodes."""
    accept(user, typed)
    forget(user)
    log.info("second factor removed", username=user.get_username())


def forget(user: User) -> bool:
    """Remove them without a code, for administrators; return whether there was an authenticator."""
    with transaction.atomic():
        removed, _ = TOTPDevice.objects.filter(user=user).delete()
        StaticDevice.objects.filter(user=user).delete()
    return bool(removed)


def _new_recovery_codes(user: User) -> list[str]:
    """Replace the recovery codes and return the new ones, of which only hashes are stored."""
    codes = [
        b32encode(secrets.token_bytes(RECOVERY_CODE_BYTES)).decode().lower()
        for _ in range(RECOVERY_CODES)
    ]
    StaticDevice.objects.filter(user=user).delete()
    device = StaticDevice.objects.create(user=user, name="recovery code")
    StaticToken.objects.bulk_create(StaticToken(device=device, token=_hash(code)) for code in codes)
    return ["-".join(code[i : i + 4] for i in range(0, len(code), 4)) for code in codes]


def _hash(code: str) -> str:
    # django-otp's column holds 16 characters. A code has 80 random bits, so 64 bits of its SHA-256
    # neither reveal it nor collide by chance.
    return hashlib.sha256(code.encode()).hexdigest()[:16]
