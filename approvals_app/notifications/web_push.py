"""Web Push: messages to browsers (RFC 8030), encrypted (RFC 8291) and signed (RFC 8292, VAPID).

A push service, chosen by the browser, forwards what only that browser can read. Its URL is a
secret, and makes the server send requests to where somebody says: it goes through the guarded
transport of webhooks.
"""

import json
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final, Self
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.utils import timezone

from audit_app.base import encryption
from audit_app.base.errors import Invalid
from audit_app.base.http_client import Answer, send
from audit_app.base.ssrf import require_webhook_url

PURPOSE: Final = "web push"
"""What the encryption of subscriptions, and the key that signs, are for."""
LONGEST_ENDPOINT: Final = 2_000
LONGEST_SUBSCRIPTION: Final = 4_000
MAX_BYTES: Final = 3_993
"""Of a message, which is one record of at most 4,096 bytes (RFC 8291, 4)."""
RECORD_SIZE: Final = 4_096
POINT_BYTES: Final = 65
"""Of an uncompressed point on P-256."""
SECRET_BYTES: Final = 16
TIMEOUT: Final = 10.0
MAX_ANSWER: Final = 1_024
KEPT_FOR: Final = timedelta(days=1)
"""How long the push service keeps a message for a browser that is away."""
SIGNED_FOR: Final = timedelta(hours=12)
"""RFC 8292 allows at most a day."""
CURVE: Final = ec.SECP256R1()

BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("Chrome", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari", "Safari"),
)
SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


class SubscriptionInvalid(Exception):
    """What a browser sent is no subscription."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where and how to reach a browser; all but ``endpoint`` in base64url.

    ``signing_key`` is the private key whose public half the browser was told: it goes on signing
    after a change of SECRET_KEY.
    """

    endpoint: str
    p256dh: str
    auth: str
    signing_key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what PushSubscription.toJSON() gave. Raises SubscriptionInvalid."""
        try:
            given: Any = json.loads(text) if len(text) <= LONGEST_SUBSCRIPTION else None
            endpoint, keys = given["endpoint"], given["keys"]
            require_webhook_url(endpoint, plain=settings.TRIAL)
            _load_point(_decode(keys["p256dh"]))
            is_secret = len(_decode(keys["auth"])) == SECRET_BYTES
        except (ValueError, TypeError, LookupError, AttributeError, Invalid, RecursionError):
            raise SubscriptionInvalid from None
        if not is_secret or len(endpoint) > LONGEST_ENDPOINT:
            raise SubscriptionInvalid
        number = encryption.derive_p256_key(PURPOSE).private_numbers().private_value
        return cls(endpoint, keys["p256dh"], keys["auth"], _encode(number.to_bytes(32)))

    @property
    def endpoint_digest(self) -> str:
        return sha256(self.endpoint.encode()).hexdigest()

    def encrypt(self) -> str:
        """The subscription as the table keeps it."""
        return encryption.encrypt(json.dumps(asdict(self)), purpose=PURPOSE)

    @classmethod
    def decrypt(cls, text: str) -> Self:
        """Raises encryption.DecryptionFailed."""
        return cls(**json.loads(encryption.decrypt(text, purpose=PURPOSE)))

    @property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(int.from_bytes(_decode(self.signing_key)), CURVE)


def get_public_key() -> str:
    """The key that browsers are told (applicationServerKey), in base64url."""
    return _encode(_dump_point(encryption.derive_p256_key(PURPOSE).public_key()))


def push(subscription: Subscription, message: dict[str, Any]) -> Answer:
    """Send ``message`` as JSON and return the answer of the push service.

    Raises what ``http_client.send`` raises for a guarded URL.
    """
    return send(
        "POST",
        subscription.endpoint,
        seconds=TIMEOUT,
        at_most=MAX_ANSWER,
        guard=settings.WEBHOOK_ALLOWED_NETWORKS,
        headers={
            "Authorization": sign_request(subscription),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": f"{KEPT_FOR.total_seconds():.0f}",
            "Urgency": "high",
        },
        content=encrypt_message(
            json.dumps(message, ensure_ascii=False).encode(),
            _decode(subscription.p256dh),
            _decode(subscription.auth),
        ),
    )


def sign_request(subscription: Subscription) -> str:
    """The Authorization header that proves who sends (RFC 8292)."""
    parts = urlsplit(subscription.endpoint)
    claims = {
        "aud": f"{parts.scheme}://{parts.netloc}",
        "exp": timezone.now() + SIGNED_FOR,
    }
    # Whom the push service may ask; some refuse messages without it.
    if contact := settings.SECURITY_CONTACT or settings.PUBLIC_URL:
        claims["sub"] = contact
    key = subscription.private_key
    token = jwt.encode(claims, key, algorithm="ES256")
    return f"vapid t={token}, k={_encode(_dump_point(key.public_key()))}"


def encrypt_message(
    message: bytes,
    receiver: bytes,
    auth: bytes,
    *,
    salt: bytes | None = None,
    sender: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """``message`` in one record of aes128gcm, which only the holder of the private half of
    ``receiver`` and of ``auth`` can read. ``salt`` and ``sender`` are random unless given."""
    salt = salt or secrets.token_bytes(16)
    sender = sender or ec.generate_private_key(CURVE)
    point = _dump_point(sender.public_key())
    shared = sender.exchange(ec.ECDH(), _load_point(receiver))
    secret = _derive(shared, auth, b"WebPush: info\x00" + receiver + point, 32)
    key = _derive(secret, salt, b"Content-Encoding: aes128gcm\x00", 16)
    nonce = _derive(secret, salt, b"Content-Encoding: nonce\x00", 12)
    # 2 ends the last record (RFC 8188).
    record = AESGCM(key).encrypt(nonce, message + b"\x02", None)
    return salt + RECORD_SIZE.to_bytes(4) + bytes([len(point)]) + point + record


def describe_device(user_agent: str) -> str:
    """``Chrome on Android``, as a browser names itself."""
    browser = next((name for mark, name in BROWSERS if mark in user_agent), "A browser")
    system = next((name for mark, name in SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if system else browser


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def _load_point(point: bytes) -> ec.EllipticCurvePublicKey:
    if len(point) != POINT_BYTES:
        raise ValueError("not an uncompressed point")
    return ec.EllipticCurvePublicKey.from_encoded_point(CURVE, point)


def _dump_point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}={0,2}", text):
        raise ValueError("not base64url")
    bare = text.rstrip("=")
    return urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
