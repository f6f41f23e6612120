"""An authenticator in software: it makes passkeys and signs with them, as a browser would answer.

Everything that a test may want to be wrong is an argument: the origin, the flags, the counter.
"""

import json
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_bytes
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from django.contrib.auth.models import User
from webauthn.helpers import encode_cbor

from approvals_app.decisions import passkeys, signatures
from approvals_app.decisions.webauthn import decode, encode
from approvals_app.models import Approval, Passkey, Vote
from audit_app.base.actors import Actor

ORIGIN = "http://localhost:8000"
PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40
USED = PRESENT | VERIFIED


@dataclass
class Authenticator:
    """One credential. ``algorithm`` is its COSE number: -7 (ES256), -8 (Ed25519) or -19."""

    algorithm: int = -7
    domain: str = "localhost"
    count: int = 0
    credential_id: str = field(default_factory=lambda: encode(token_bytes(32)))
    private: Any = None

    def __post_init__(self) -> None:
        elliptic = self.algorithm == -7
        self.private = self.private or (
            ec.generate_private_key(ec.SECP256R1())
            if elliptic
            else ed25519.Ed25519PrivateKey.generate()
        )

    @property
    def public_key(self) -> bytes:
        """COSE."""
        public = self.private.public_key()
        if self.algorithm != -7:
            return encode_cbor({1: 1, 3: self.algorithm, -1: 6, -2: public.public_bytes_raw()})
        numbers = public.public_numbers()
        x, y = (number.to_bytes(32, "big") for number in (numbers.x, numbers.y))
        return encode_cbor({1: 2, 3: -7, -1: 1, -2: x, -3: y})

    def create(
        self, challenge: bytes, *, origin: str = ORIGIN, flags: int = USED, **client: Any
    ) -> dict[str, str]:
        """The answer to ``navigator.credentials.create()``."""
        raw_id = decode(self.credential_id)
        attested = bytes(16) + len(raw_id).to_bytes(2, "big") + raw_id + self.public_key
        data = self._data(flags | ATTESTED) + attested
        attestation = encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})
        return {
            "credential_id": self.credential_id,
            "attestation_object": encode(attestation),
            "client_data_json": encode(_client("webauthn.create", challenge, origin, client)),
        }

    def sign(
        self, challenge: bytes, *, origin: str = ORIGIN, flags: int = USED, **client: Any
    ) -> dict[str, str]:
        """The answer to ``navigator.credentials.get()``."""
        self.count += bool(self.count)
        data = self._data(flags)
        client_data = _client("webauthn.get", challenge, origin, client)
        signed = data + sha256(client_data).digest()
        if self.algorithm == -7:
            signature = self.private.sign(signed, ec.ECDSA(hashes.SHA256()))
        else:
            signature = self.private.sign(signed)
        return {
            "credential_id": self.credential_id,
            "authenticator_data": encode(data),
            "client_data_json": encode(client_data),
            "signature": encode(signature),
        }

    def sign_vote(
        self,
        approval: Approval,
        voter: User,
        choice: str = "yes",
        *,
        notes: str = "",
        answer: Any = None,
        seat: User | None = None,
        origin: str = ORIGIN,
        **wrong: Any,
    ) -> dict[str, str]:
        """The signature of a vote that ``voter`` is about to cast."""
        vote = Vote(
            approval=approval,
            voter=voter,
            seat_of=seat or voter,
            choice=choice,
            payload_digest=approval.payload_digest,
            notes=notes,
            answer=answer,
        )
        statement = signatures.build_statement(vote, origin=origin)
        return self.sign(signatures.build_challenge(statement), origin=origin, **wrong)

    def _data(self, flags: int) -> bytes:
        domain = sha256(self.domain.encode()).digest()
        return domain + bytes([flags]) + self.count.to_bytes(4, "big")


def register(
    person: User, authenticator: Authenticator | None = None, label: str = "Laptop"
) -> tuple[Authenticator, Passkey]:
    """Register a passkey of ``person``."""
    authenticator = authenticator or Authenticator()
    challenge = token_bytes(32)
    answer = authenticator.create(challenge)
    by = Actor.human(person)
    return authenticator, passkeys.register_passkey(answer, by=by, challenge=challenge, label=label)


def _client(kind: str, challenge: bytes, origin: str, more: dict[str, Any]) -> bytes:
    client = {"type": kind, "challenge": encode(challenge), "origin": origin, **more}
    return json.dumps(client, separators=(",", ":")).encode()
