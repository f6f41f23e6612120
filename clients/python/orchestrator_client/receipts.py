"""Check a receipt without asking the orchestrator: for whoever executes what was approved.

    approved = verify_receipt(receipt, payload, keys, use_once=store.add)

``payload`` is what is about to be executed, ``keys`` the orchestrator's published set of keys
(``/.well-known/jwks.json``), kept by the executor. Needs ``orchestrator-client[receipts]``.
"""

import hashlib
import json
import time
from base64 import b64decode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

TYPE = "approval-receipt+jwt"
ALGORITHMS = ["Ed25519", "EdDSA"]
VERIFIED = 0x01 | 0x04
COSE_ED25519 = bytes.fromhex("a4010103272006215820")
COSE_ES256 = bytes.fromhex("a5010203262001215820")
COSE_Y = bytes.fromhex("225820")
MEMBERS = ("context", "data", "description", "from_role", "task_type", "to_role")
"""The members of a payload; ``data`` is what the task does."""

Json = Mapping[str, Any]


class ReceiptError(Exception):
    """The receipt does not allow this; ``code`` is stable, the message one sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Receipt:
    """A receipt that was checked: its claims, and whether the log's proof was among them."""

    claims: dict[str, Any]
    in_log: bool

    @property
    def task_id(self) -> str:
        return str(self.claims["task"]["id"])

    @property
    def voters(self) -> list[str]:
        """The names of the people whose yes counted."""
        return [
            vote["voter"]["name"]
            for approval in self.claims["approvals"]
            for vote in approval["votes"]
            if vote["choice"] == "yes"
        ]


def verify_receipt(
    receipt: str,
    payload: Json,
    keys: Json,
    *,
    log_keys: Iterable[str] = (),
    require_log: bool = False,
    witness_keys: Collection[str] = (),
    witnesses: int = 0,
    require_people: bool = False,
    require_signatures: bool = False,
    passkeys: Mapping[str, Collection[str]] | None = None,
    use_once: Callable[[str], bool] | None = None,
    now: float | None = None,
) -> Receipt:
    """Check that ``receipt`` allows to execute exactly ``payload``, now.

    Args:
        receipt: the compact JWS.
        payload: the whole payload of the task, with the six MEMBERS.
        keys: a JWK Set of the keys that may sign receipts.
        log_keys: verifier keys of the log (``/audit/log/keys``), as ``NAME+ID+BASE64``. With any,
            a proof in the receipt is checked.
        require_log: refuse a receipt without such a proof.
        witness_keys: verifier keys of witnesses, as ``NAME+ID+BASE64``.
        witnesses: how many of them must have cosigned the log's checkpoint; any need a proof.
        require_people: refuse what a policy, silence or one person in an emergency approved.
        require_signatures: refuse a yes that is not signed by a passkey. Signatures that a receipt
            has are checked in any case.
        passkeys: the public keys that each person's votes may be signed with, as base64url of
            their COSE form by the person's id. Without it a signature proves that the receipt's
            own key signed, and that the log has this vote with it.
        use_once: called last, with the receipt's ``jti``; keeps it and returns True, or returns
            False if it was kept before. It must do both at once, as an INSERT with a unique key
            does.
        now: seconds since 1970, for tests.

    Raises ReceiptError with the code ``malformed``, ``signature``, ``payload``, ``rejected``,
    ``expired``, ``votes``, ``vote_signature``, ``log`` or ``used``.
    """
    claims = _open(receipt, keys)
    try:
        _check_payload(claims, payload)
        _check_decision(claims, time.time() if now is None else now)
        _check_votes(claims, require_people=require_people)
        for approval in claims["approvals"]:
            for vote in approval["votes"]:
                _check_signature(claims, approval, vote, require_signatures, passkeys)
        in_log = _check_log(claims, list(log_keys), required=require_log or witnesses > 0)
        if witnesses:
            _check_witnesses(claims["log"]["checkpoint"], witness_keys, witnesses)
        jti = claims["jti"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReceiptError("malformed", f"The receipt lacks something: {error!r}.") from None
    if use_once is not None and not use_once(jti):
        raise ReceiptError("used", "This receipt was used before.")
    return Receipt(claims, in_log)


def digest_payload(payload: Json) -> str:
    """What people approved: the lowercase hex SHA-256 of the payload's RFC 8785 text."""
    return hashlib.sha256(rfc8785.dumps(dict(payload))).hexdigest()


def _open(receipt: str, keys: Json) -> dict[str, Any]:
    try:
        trusted: Any = dict(keys)
        key_set = KeySet.import_key_set(trusted)
        found = jws.deserialize_compact(receipt, key_set, algorithms=ALGORITHMS)
        header, claims = found.headers(), json.loads(found.payload)
    except (JoseError, ValueError, TypeError) as error:
        raise ReceiptError("signature", f"None of the keys signed this receipt: {error}.") from None
    if header.get("typ") != TYPE or not isinstance(claims, dict):
        raise ReceiptError("malformed", "That is signed, but it is no receipt.")
    return claims


def _check_payload(claims: Json, payload: Json) -> None:
    if sorted(payload) != sorted(MEMBERS):
        raise ReceiptError("payload", f"A payload has the members {', '.join(MEMBERS)}.")
    if digest_payload(payload) != claims["payload_digest"]:
        raise ReceiptError("payload", "People decided on another payload than this one.")


def _check_decision(claims: Json, now: float) -> None:
    if claims["decision"] != "approved":
        raise ReceiptError("rejected", "The receipt says that this was rejected.")
    if "exp" in claims and now >= claims["exp"]:
        raise ReceiptError("expired", "The approval can't be used any more.")


def _check_votes(claims: Json, *, require_people: bool) -> None:
    """Count the votes again: each group has the yeses that it needs, each of another person."""
    approvals: Sequence[Json] = claims["approvals"]
    by_people = bool(approvals)
    for approval in approvals:
        if approval["status"] != "approved":
            raise ReceiptError("votes", f"{approval['role']} did not approve this.")
        if approval["decided_by"] != "votes":
            by_people = False
            continue
        if approval["needed"] < 1:
            raise ReceiptError("votes", f"{approval['role']} needs nobody's vote.")
        yeses = [vote for vote in approval["votes"] if vote["choice"] == "yes"]
        if any(vote["payload_digest"] != claims["payload_digest"] for vote in yeses):
            raise ReceiptError("votes", "A vote was given to another payload.")
        voters = {vote["voter"]["id"] for vote in yeses}
        if min(len(voters), len({vote["seat_of"]["id"] for vote in yeses})) < approval["needed"]:
            raise ReceiptError(
                "votes",
                f"{approval['role']} needs {approval['needed']} votes and has {len(voters)}.",
            )
    everybody = [
        vote["voter"]["id"]
        for approval in approvals
        for vote in approval["votes"]
        if vote["choice"] == "yes"
    ]
    if len(everybody) != len(set(everybody)):
        raise ReceiptError("votes", "Somebody's vote is counted twice.")
    if not approvals and claims["override"] is None and claims["policy"]["verdict"] == "require":
        raise ReceiptError("votes", "People had to approve this, and the receipt names nobody.")
    if require_people and not by_people:
        raise ReceiptError("votes", "Not everybody who had to approve this did.")


def _check_signature(
    claims: Json,
    approval: Json,
    vote: Json,
    required: bool,
    passkeys: Mapping[str, Collection[str]] | None,
) -> None:
    """Check the passkey's signature of ``vote`` (WebAuthn, section 7.2), if it has one."""
    signature = vote.get("signature")
    if signature is None:
        if required and vote["choice"] == "yes":
            raise ReceiptError("vote_signature", f"{vote['voter']['name']} did not sign their yes.")
        return
    refusal = ReceiptError("vote_signature", f"{vote['voter']['name']} did not sign this vote.")
    assertion: Json = signature["assertion"]
    if passkeys is not None and assertion["public_key"] not in passkeys.get(
        vote["voter"]["id"], ()
    ):
        raise refusal
    statement = json.loads(signature["statement"])
    expected = {
        "approval": approval["id"],
        "task": claims["task"]["id"],
        "revision": claims["task"]["revision"],
        "payload_digest": vote["payload_digest"],
        "choice": vote["choice"],
        "seat": int(vote["seat_of"]["id"]),
    }
    if {**statement, **expected} != statement:
        raise refusal
    client_data = _decode(assertion["client_data_json"])
    client = json.loads(client_data)
    challenge = _decode(client["challenge"])
    if (
        client["type"] != "webauthn.get"
        or challenge != hashlib.sha256(signature["statement"].encode()).digest()
        or client["origin"] != statement["origin"]
        or client.get("crossOrigin")
        or client.get("topOrigin") is not None
    ):
        raise refusal
    authenticator = _decode(assertion["authenticator_data"])
    # Present and verified: a person touched it, and it knew who.
    if authenticator[32] & VERIFIED != VERIFIED or not _is_of(statement["origin"], authenticator):
        raise refusal
    signed = authenticator + hashlib.sha256(client_data).digest()
    try:
        _verify_cose(_decode(assertion["public_key"]), _decode(assertion["signature"]), signed)
    except InvalidSignature:
        raise refusal from None


def _is_of(origin: str, authenticator: bytes) -> bool:
    """Whether the passkey belongs to the domain of ``origin``, or to one above it."""
    labels = (urlsplit(origin).hostname or "").split(".")
    domains = (".".join(labels[start:]) for start in range(len(labels)))
    return authenticator[:32] in {hashlib.sha256(each.encode()).digest() for each in domains}


def _verify_cose(key: bytes, signature: bytes, signed: bytes) -> None:
    """Verify with a COSE key (RFC 9052): Ed25519 or ES256, in the canonical form that
    authenticators must use. Raises InvalidSignature and ValueError."""
    if key.startswith(COSE_ED25519) and len(key) == len(COSE_ED25519) + 32:
        Ed25519PublicKey.from_public_bytes(key[len(COSE_ED25519) :]).verify(signature, signed)
    elif key.startswith(COSE_ES256) and len(key) == len(COSE_ES256) + 67 and key[42:45] == COSE_Y:
        point = b"\x04" + key[10:42] + key[45:]
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        public.verify(signature, signed, ec.ECDSA(SHA256()))
    else:
        raise ValueError("a key of another kind")


def _decode(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)


def _check_log(claims: Json, log_keys: Sequence[str], *, required: bool) -> bool:
    """Check that the log has the events of the decision, and that these say what is claimed."""
    log = claims.get("log")
    if log is None or not log_keys:
        if required:
            raise ReceiptError("log", "There is no proof, or no key to check it with.")
        return False
    origin, size, root = _open_checkpoint(log["checkpoint"], log["origin"], log_keys)
    for event in log["events"]:
        leaf = hashlib.sha256(b"\x00" + event["entry"].encode()).digest()
        proof = [b64decode(each, validate=True) for each in event["proof"]]
        if compute_root(leaf, event["index"], size, proof) != root:
            raise ReceiptError("log", f"{origin} does not have an event of this receipt.")
    _check_events(claims, [json.loads(event["entry"]) for event in log["events"]])
    return True


def _check_witnesses(note: str, keys: Collection[str], needed: int) -> None:
    """Count whose cosignatures the checkpoint has (c2sp.org/tlog-cosignature, version 1)."""
    text, _, signatures = note.rpartition("\n\n")
    # By their keys: one witness under two names is one.
    found = {
        key.strip().split("+", 2)[2] for key in keys if _has_cosigned(f"{text}\n", signatures, key)
    }
    if len(found) < needed:
        raise ReceiptError("log", f"{len(found)} of the witnesses cosigned, {needed} must.")


def _has_cosigned(text: str, signatures: str, verifier_key: str) -> bool:
    name, key_id, key = verifier_key.strip().split("+", 2)
    public = Ed25519PublicKey.from_public_bytes(b64decode(key, validate=True)[1:])
    for line in signatures.splitlines():
        _, signer, encoded = line.split(" ")
        value = b64decode(encoded, validate=True)
        if (signer, value[:4].hex()) != (name, key_id):
            continue
        time_ = int.from_bytes(value[4:12], "big")
        with suppress(InvalidSignature):
            public.verify(value[12:], f"cosignature/v1\ntime {time_}\n{text}".encode())
            return True
    return False


def _check_events(claims: Json, events: Sequence[Json]) -> None:
    decision, *others = events
    task = claims["task"]
    if decision["event_id"] != claims["jti"]:
        raise ReceiptError("log", "The receipt is of another decision.")
    if (decision["subject_type"], decision["subject_id"]) != ("task", task["id"]):
        raise ReceiptError("log", "The proof is of another task.")
    if decision["to_state"] != claims["decision"]:
        raise ReceiptError("log", "The event in the log decided otherwise.")
    if decision["metadata"]["payload_digest"] != claims["payload_digest"]:
        raise ReceiptError("log", "The event in the log decided on another payload.")
    if _read_end(decision["metadata"]) != claims.get("exp"):
        raise ReceiptError("log", "The log has another end of the approval.")
    # Names may change; a person's id does not.
    stated = {
        (
            vote["subject_id"],
            vote["metadata"]["approval_id"],
            vote["actor_id"],
            str(vote["metadata"]["seat_of"]),
            vote["metadata"]["choice"],
            vote["metadata"]["payload_digest"],
            vote["metadata"].get("assertion_digest"),
        )
        for vote in others
        if vote["event_type"] == "vote.cast"
    }
    wanted = {
        (each["subject_id"], each["role"], each["metadata"]["needed"])
        for each in others
        if each["event_type"] == "approval.requested"
    }
    for approval in claims["approvals"]:
        if (approval["id"], approval["role"], approval["needed"]) not in wanted:
            raise ReceiptError("log", "The log does not want as many votes as this receipt.")
        for vote in approval["votes"]:
            claimed = (
                vote["id"],
                approval["id"],
                vote["voter"]["id"],
                vote["seat_of"]["id"],
                vote["choice"],
                vote["payload_digest"],
                _digest_assertion(vote.get("signature")),
            )
            if claimed not in stated:
                raise ReceiptError("log", "The log does not have a vote of this receipt.")


def _digest_assertion(signature: Json | None) -> str | None:
    """What the event of a signed vote names its signature by."""
    if signature is None:
        return None
    return hashlib.sha256(rfc8785.dumps(dict(signature["assertion"]))).hexdigest()


def _read_end(metadata: Json) -> int | None:
    """Until when the approval holds, in whole seconds since 1970; None without an end."""
    until = metadata.get("approved_until")
    return None if until is None else int(datetime.fromisoformat(until).timestamp())


def _open_checkpoint(
    note: str, origin: str, verifier_keys: Sequence[str]
) -> tuple[str, int, bytes]:
    """The origin, size and root that one of ``verifier_keys`` signed (c2sp.org/tlog-checkpoint)."""
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    for verifier_key in verifier_keys:
        name, key_id, key = verifier_key.strip().split("+", 2)
        for line in signatures.splitlines():
            dash, signer, encoded = line.split(" ")
            signature = b64decode(encoded, validate=True)
            if (dash, signer, signature[:4].hex()) != ("—", name, key_id) or name != origin:
                continue
            try:
                public = Ed25519PublicKey.from_public_bytes(b64decode(key, validate=True)[1:])
                public.verify(signature[4:], text.encode())
            except InvalidSignature:
                raise ReceiptError("log", "The checkpoint's signature is wrong.") from None
            first, size, root = text.splitlines()[:3]
            if first != origin:
                raise ReceiptError("log", "The checkpoint is of another log.")
            return first, int(size), b64decode(root, validate=True)
    raise ReceiptError("log", "None of the log's keys signed the checkpoint.")


def compute_root(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to (RFC 9162, section 2.1.3.2); None if it is none."""
    if not 0 <= index < size:
        return None
    fn, sn, root = index, size - 1, leaf
    for each in proof:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            root = hashlib.sha256(b"\x01" + each + root).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = hashlib.sha256(b"\x01" + root + each).digest()
        fn, sn = fn >> 1, sn >> 1
    return root if sn == 0 else None
