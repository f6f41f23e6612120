"""WebAuthn as we use it: the user is always verified, on our own pages and in no frame.

Every caller passes the public key, so that this module reads no rows. The library is imported when
it is needed: most processes never verify a signature.
"""

import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings

LONGEST_MEMBER: Final = 8_192
"""Characters of each member of an answer that is read at all."""

ALGORITHMS: Final = (-8, -7)
"""Ed25519 and ES256 by their COSE numbers. Not -19, Ed25519 by RFC 9864: the library registers such
a key and then refuses each of its signatures."""

ASSERTION_MEMBERS: Final = ("credential_id", "authenticator_data", "client_data_json", "signature")
TIMEOUT_MS: Final = 120_000


class NotVerified(Exception):
    """The authenticator's answer is not accepted; the message says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A new credential: its id and COSE key in base64url, and the authenticator's count."""

    credential_id: str
    public_key: str
    sign_count: int


def build_creation_options(
    challenge: bytes, *, user_handle: bytes, name: str, known: Sequence[str]
) -> dict[str, Any]:
    """What the browser is given to create a passkey; ``known`` are the ids of the person's own."""
    return {
        "rp": {"id": settings.PASSKEY_DOMAIN, "name": "Orchestrator"},
        "user": {"id": encode(user_handle), "name": name, "displayName": name},
        "challenge": encode(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in ALGORITHMS],
        "timeout": TIMEOUT_MS,
        "excludeCredentials": [{"type": "public-key", "id": each} for each in known],
        # The library and most others ask for verification only where they are told to.
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "attestation": "none",
    }


def build_request_options(challenge: bytes, known: Sequence[Any] = ()) -> dict[str, Any]:
    """What the browser is given to use one of the passkeys ``known``, or any without."""
    return {
        "rpId": settings.PASSKEY_DOMAIN,
        "challenge": encode(challenge),
        "timeout": TIMEOUT_MS,
        "allowCredentials": [
            {"type": "public-key", "id": each.credential_id, "transports": each.transports}
            for each in known
        ],
        "userVerification": "required",
    }


def verify_creation(answer: Any, challenge: bytes) -> Registered:
    """Verify the answer to ``build_creation_options``: ``credential_id``, ``attestation_object``
    and ``client_data_json`` in base64url. Raises NotVerified."""
    from webauthn import verify_registration_response
    from webauthn.helpers.cose import COSEAlgorithmIdentifier
    from webauthn.helpers.exceptions import WebAuthnException

    members = read_members(answer, ("credential_id", "attestation_object", "client_data_json"))
    _check_client(members["client_data_json"])
    credential = {
        "id": members["credential_id"],
        "rawId": members["credential_id"],
        "type": "public-key",
        "response": {
            "attestationObject": members["attestation_object"],
            "clientDataJSON": members["client_data_json"],
        },
    }
    try:
        found = verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=settings.PASSKEY_DOMAIN,
            expected_origin=settings.PASSKEY_ORIGINS,
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier(alg) for alg in ALGORITHMS],
        )
    # The base class: bad backup flags and unknown keys raise others than the documented one.
    except (WebAuthnException, ValueError, KeyError) as error:
        raise NotVerified(_explain(error)) from error
    return Registered(
        encode(found.credential_id), encode(found.credential_public_key), found.sign_count
    )


def verify_assertion(
    assertion: Mapping[str, str],
    challenge: bytes,
    public_key: str,
    *,
    sign_count: int,
    origins: Sequence[str],
    domain: str,
) -> int:
    """Verify ``assertion`` (ASSERTION_MEMBERS in base64url) and return the authenticator's count,
    which must be above ``sign_count`` unless both are 0. Raises NotVerified."""
    from webauthn import verify_authentication_response
    from webauthn.helpers.exceptions import WebAuthnException

    _check_client(assertion["client_data_json"])
    credential = {
        "id": assertion["credential_id"],
        "rawId": assertion["credential_id"],
        "type": "public-key",
        "response": {
            "authenticatorData": assertion["authenticator_data"],
            "clientDataJSON": assertion["client_data_json"],
            "signature": assertion["signature"],
        },
    }
    try:
        found = verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=domain,
            expected_origin=list(origins),
            credential_public_key=decode(public_key),
            credential_current_sign_count=sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError) as error:
        raise NotVerified(_explain(error)) from error
    return found.new_sign_count


def read_members(answer: Any, names: Sequence[str]) -> dict[str, str]:
    """The members ``names`` of ``answer``, each in canonical base64url. Raises NotVerified."""
    members = {}
    for name in names:
        text = answer.get(name) if isinstance(answer, Mapping) else None
        if not isinstance(text, str) or not 0 < len(text) <= LONGEST_MEMBER:
            raise NotVerified(f"{name} is missing.")
        try:
            canonical = encode(decode(text)) == text
        except ValueError:
            canonical = False
        if not canonical:
            raise NotVerified(f"{name} is not in base64url.")
        members[name] = text
    return members


def read_client(client_data_json: str) -> dict[str, Any]:
    """What the browser said of where and for what the passkey was used. Raises NotVerified."""
    try:
        client = json.loads(decode(client_data_json))
    except (ValueError, RecursionError):
        client = None
    if not isinstance(client, dict):
        raise NotVerified("The browser's data is not JSON.")
    return client


def find_domain(origin: str, authenticator_data: str) -> str:
    """The domain that the authenticator used the passkey for, if ``origin`` is of it, else ""."""
    used, labels = decode(authenticator_data)[:32], (urlsplit(origin).hostname or "").split(".")
    domains = (".".join(labels[start:]) for start in range(len(labels)))
    return next((each for each in domains if sha256(each.encode()).digest() == used), "")


def read_sign_count(authenticator_data: str) -> int:
    """How often the authenticator says that it used the passkey."""
    return int.from_bytes(decode(authenticator_data)[33:37], "big")


def encode(data: bytes) -> str:
    """``data`` in base64url, without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The bytes of ``text`` in base64url. Raises ValueError."""
    return b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)


def _check_client(client_data_json: str) -> None:
    # The library reads neither member. A page in somebody else's frame may be drawn over.
    client = read_client(client_data_json)
    if client.get("crossOrigin") or client.get("topOrigin") is not None:
        raise NotVerified("The passkey was used in a page of another site.")


SENTENCES: Final = {
    "sign count": "The passkey's counter went back: there may be a copy of it.",
    "challenge": "It is a signature of something else.",
    "origin": "The passkey was used on another site.",
    "RP ID": "The passkey was used on another site.",
    "not verified": "The passkey did not verify who used it.",
    "not present": "Nobody touched the passkey.",
    "credential public key alg": "This kind of key is not supported.",
    "signature": "The signature is wrong.",
}
"""What people read, by a part of the library's message."""


def _explain(error: Exception) -> str:
    message = str(error)
    known = (sentence for part, sentence in SENTENCES.items() if part in message)
    return next(known, "The authenticator's answer can't be read.")
