"""Second factors: the codes of an authenticator (TOTP, RFC 6238) and, for when it is lost, ten
recovery codes.

django-otp keeps them, lets no code be used twice, and makes each wrong code wait twice as long as
the one before. What is ours is the order: one row lock around looking, comparing and saving.
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

log = structlog.get_logger("orchestrator.accounts")

ISSUER = "Orchestrator"
RECOVERY_CODES = 10
RECOVERY_CODE_BYTES = 10
STEP_SECONDS = 30
TOLERANCE = 1
CODE = re.compile(r"[0-9]{6}")
RECOVERY_CODE = re.compile(r"[a-z2-7]{16}")


class WrongCode(Exception):
    """What was typed is no code of this person's, or was used before."""


class TooManyCodes(Exception):
    """Wrong codes were given too fast; even a right one is refused for ``seconds``."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class AlreadyEnrolled(Exception):
    """The person has an authenticator; another takes its place only after it was removed."""


def is_enrolled(user: User) -> bool:
    """Whether ``user`` has set up an authenticator."""
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def count_recovery_codes(user: User) -> int:
    return int(StaticToken.objects.filter(device__user=user).count())


def new_secret() -> str:
    """Twenty random bytes, in hex."""
    return str(random_hex(20))


def format_secret(secret: str) -> str:
    """``secret`` as authenticators take it when it is typed."""
    text = b32encode(unhexlify(secret)).decode()
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def draw_qr_code(user: User, secret: str) -> SafeString:
    """The QR code that an authenticator reads ``secret`` from, as SVG without styles or scripts."""
    label = quote(f"{ISSUER}:{user.get_username()}")
    query = urlencode({"secret": b32encode(unhexlify(secret)).decode(), "issuer": ISSUER})
    image = qrcode.make(
        f"otpauth://totp/{label}?{query}", image_factory=SvgPathImage, box_size=10, border=2
    )
    drawn: str = image.to_string().decode()
    return mark_safe(drawn)  # noqa: S308  # squares and no text


def accept(user: User, typed: str) -> str:
    """Use up the code that ``user`` typed; return the device that it is of.

    Two requests with one code: the row lock lets one after the other look, and the second finds it
    used. Raises WrongCode, TooManyCodes.
    """
    typed = re.sub(r"[\s-]", "", typed).lower()
    with transaction.atomic():
        device, token = _lock_device(user, typed)
        if device is None:
            raise WrongCode
        allowed, reason = device.verify_is_allowed()
        if not allowed:
            wait: timedelta = reason["locked_until"] - timezone.now()
            raise TooManyCodes(max(1, math.ceil(wait.total_seconds())))
        fits = device.verify_token(token)
    log.info("second factor", username=user.get_username(), kind=device.name, accepted=fits)
    if not fits:
        raise WrongCode
    return str(device.persistent_id)


def _lock_device(user: User, typed: str) -> tuple[Device | None, str]:
    """The locked device that ``typed`` must be a code of. What is neither is a wrong TOTP code."""
    if RECOVERY_CODE.fullmatch(typed):
        recovery = StaticDevice.objects.select_for_update().filter(user=user).first()
        return recovery, _hash(typed)
    device = TOTPDevice.objects.select_for_update().filter(user=user, confirmed=True).first()
    return device, typed if CODE.fullmatch(typed) else "wrong"


def enrol(user: User, secret: str, typed: str) -> tuple[str, list[str]]:
    """Take the authenticator that knows ``secret`` once it has shown so by a code, which is used up
    by that. Returns the device and the recovery codes, which are known here and nowhere else.

    Two tabs: the person's row is locked, and the second is told. Raises WrongCode, EnrolledAlready.
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
    """Ten new recovery codes instead of those that are left. Raises WrongCode, TooManyCodes."""
    accept(user, typed)
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        codes = _new_recovery_codes(user)
    log.info("recovery codes renewed", username=user.get_username())
    return codes


def remove(user: User, typed: str) -> None:
    """Forget the authenticator and the recovery codes. Raises WrongCode, TooManyCodes."""
    accept(user, typed)
    forget(user)
    log.info("second factor removed", username=user.get_username())


def forget(user: User) -> bool:
    """Without a code: for an administrator. Whether there was anything to forget."""
    with transaction.atomic():
        removed, _ = TOTPDevice.objects.filter(user=user).delete()
        StaticDevice.objects.filter(user=user).delete()
    return bool(removed)


def _new_recovery_codes(user: User) -> list[str]:
    """Only their hashes are kept: 80 random bits are not guessed back from half a SHA-256."""
    codes = [
        b32encode(secrets.token_bytes(RECOVERY_CODE_BYTES)).decode().lower()
        for _ in range(RECOVERY_CODES)
    ]
    StaticDevice.objects.filter(user=user).delete()
    device = StaticDevice.objects.create(user=user, name="recovery code")
    StaticToken.objects.bulk_create(StaticToken(device=device, token=_hash(code)) for code in codes)
    return ["-".join(code[i : i + 4] for i in range(0, len(code), 4)) for code in codes]


def _hash(code: str) -> str:
    """As much of the hash as django-otp's column holds."""
    return hashlib.sha256(code.encode()).hexdigest()[:16]
