"""The vectors of receipts: made here from fixed keys, and passed by both verifiers."""

import hashlib
import json
import os
import shutil
import subprocess
from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jws
from joserfc.jwk import OKPKey
from orchestrator_client.receipts import ReceiptError, digest_payload, verify_receipt
from webauthn.helpers import encode_cbor

from audit_app.base.canonical import canonical, digest
from audit_app.proof.keys import SigningKey
from audit_app.proof.merkle import inclusion_proof, leaf_hash, root_of
from audit_app.proof.notes import COSIGNATURE_V1, VerifierKey, cosign_note, sign_note

pytestmark = pytest.mark.pure

CLIENTS = Path(__file__).parents[2] / "clients"
FILE = CLIENTS / "vectors" / "receipts.json"
KEY, STRANGER = (SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (7, 8))
ORIGIN = "orchestrator.example/audit/log"
NOW = 1_790_000_000
PAYLOAD = {
    "context": {},
    "data": {"amount": 249.9, "currency": "EUR", "order": "2026-118204", "note": "Größe €"},
    "description": "Refund of order 2026-118204",
    "from_role": "support",
    "task_type": "refund",
    "to_role": "finance",
}
DIGEST = digest_payload(PAYLOAD)
TASK = "0b5e4a52-6a0e-4b8e-9a1a-6f3b6f0f7d11"
DECISION = "e1a7c2d4-5b6f-4a3e-8c9d-0e1f2a3b4c5d"
APPROVAL = "7d3f1b9e-2a43-4a57-9f57-7a3e9d5b2c10"
VOTES = {"1": "5c0d5a0a-4f7d-4a1c-8b8e-0d6f3a0b1c01", "2": "5c0d5a0a-4f7d-4a1c-8b8e-0d6f3a0b1c02"}


def make_claims(**changes):
    people = {"1": "alice", "2": "bob"}
    votes = [
        {
            "id": vote_id,
            "voter": {"id": person, "name": people[person]},
            "seat_of": {"id": person, "name": people[person]},
            "choice": "yes",
            "at": NOW - 60,
            "payload_digest": DIGEST,
            "signature": sign_vote(person),
        }
        for person, vote_id in VOTES.items()
    ]
    approval = {
        "id": APPROVAL,
        "role": "finance",
        "status": "approved",
        "needed": 2,
        "deny_threshold": 1,
        "decided_by": "votes",
        "votes": votes,
    }
    claims = {
        "iss": ORIGIN,
        "jti": DECISION,
        "iat": NOW - 60,
        "exp": NOW + 600,
        "decision": "approved",
        "single_use": True,
        "task": {
            "id": TASK,
            "type": "refund",
            "agent": "support-bot",
            "from_role": "support",
            "to_role": "finance",
            "revision": 1,
            "trace_id": "3f0b7f6a-9f5e-4c5e-8a52-1d2e3f4a5b6c",
        },
        "payload_digest": DIGEST,
        "policy": {"name": "Refunds", "version": 3, "verdict": "require"},
        "approvals": [approval],
        "override": None,
        "log": make_log(),
    }
    return claims | changes


def make_log(digest=DIGEST, *, signed=True):
    """A log of eleven events, four of which are those of the decision."""
    entries = [canonical({"event_id": str(n)}) for n in range(11)]
    entries[4], entries[7] = (make_vote_entry(person, signed) for person in VOTES)
    entries[8] = make_entry(
        "task",
        TASK,
        "task.approved",
        to_state="approved",
        actor_id="2",
        event_id=DECISION,
        approved_until=datetime.fromtimestamp(NOW + 600.25, UTC).isoformat(),
        payload_digest=digest,
    )
    entries[2] = make_entry(
        "approval",
        APPROVAL,
        "approval.requested",
        actor_id="",
        role="finance",
        needed=2,
    )
    leaves = [leaf_hash(entry.encode()) for entry in entries]
    root = naive_root(leaves)
    checkpoint = sign_note(f"{ORIGIN}\n11\n{b64encode(root).decode()}\n", ORIGIN, KEY)
    events = [
        {
            "entry": entries[n],
            "index": n,
            "proof": [b64encode(h).decode() for h in prove(leaves, n)],
        }
        for n in (8, 4, 7, 2)
    ]
    return {"origin": ORIGIN, "checkpoint": checkpoint, "events": events}


def make_vote_entry(person, signed):
    signature = {"assertion_digest": digest(canonical(sign_vote(person)["assertion"]))}
    return make_entry(
        "vote",
        VOTES[person],
        "vote.cast",
        actor_id=person,
        approval_id=APPROVAL,
        choice="yes",
        payload_digest=DIGEST,
        seat_of=int(person),
        **(signature if signed else {}),
    )


def make_passkey(person):
    """alice has an Ed25519 passkey and bob an ES256 one."""
    if person == "1":
        return Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
    return ec.derive_private_key(int.from_bytes(b"\x0a" * 32, "big"), ec.SECP256R1())


def make_cose(private):
    public = private.public_key()
    if isinstance(private, Ed25519PrivateKey):
        return encode_cbor({1: 1, 3: -8, -1: 6, -2: public.public_bytes_raw()})
    numbers = public.public_numbers()
    x, y = (number.to_bytes(32, "big") for number in (numbers.x, numbers.y))
    return encode_cbor({1: 2, 3: -7, -1: 1, -2: x, -3: y})


def sign_vote(person, *, flags=5, site="https://orchestrator.example", client=None, **changes):
    """The signature of ``person``'s vote, as a browser makes it of the statement."""
    statement = {
        "answer_digest": None,
        "approval": APPROVAL,
        "ballot": 1,
        "choice": "yes",
        "notes_digest": digest(""),
        "origin": site,
        "payload_digest": DIGEST,
        "policy": {"name": "Refunds", "version": 3},
        "revision": 1,
        "seat": int(person),
        "task": TASK,
    }
    text = canonical(statement | changes)
    challenge = encode(hashlib.sha256(text.encode()).digest())
    said = {"type": "webauthn.get", "challenge": challenge, "origin": site} | (client or {})
    client_data = canonical(said).encode()
    domain = hashlib.sha256(b"orchestrator.example").digest()
    authenticator = domain + bytes([flags]) + (3).to_bytes(4, "big")
    signed = authenticator + hashlib.sha256(client_data).digest()
    private = make_passkey(person)
    if isinstance(private, Ed25519PrivateKey):
        signature = private.sign(signed)
    else:
        signature = private.sign(signed, ec.ECDSA(SHA256(), deterministic_signing=True))
    assertion = {
        "credential_id": encode(bytes([int(person)]) * 16),
        "authenticator_data": encode(authenticator),
        "client_data_json": encode(client_data),
        "signature": encode(signature),
        "public_key": encode(make_cose(private)),
        "sign_count": 3,
    }
    return {"assertion": assertion, "statement": text}


def encode(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def make_entry(
    subject_type,
    subject_id,
    event_type,
    *,
    actor_id,
    event_id="",
    role=None,
    to_state=None,
    **metadata,
):
    entry = {
        "actor_id": actor_id,
        "event_id": event_id,
        "role": role,
        "event_type": event_type,
        "metadata": metadata,
        "subject_id": subject_id,
        "subject_type": subject_type,
        "to_state": to_state,
    }
    return canonical(entry)


def naive_root(leaves):
    """RFC 9162, section 2.1.1, word by word."""
    if len(leaves) == 1:
        return leaves[0]
    split = largest_power(len(leaves))
    return hashlib.sha256(
        b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])
    ).digest()


def prove(leaves, index):
    """RFC 9162, section 2.1.3.1, word by word."""
    if len(leaves) == 1:
        return []
    split = largest_power(len(leaves))
    if index < split:
        return [*prove(leaves[:split], index), naive_root(leaves[split:])]
    return [*prove(leaves[split:], index - split), naive_root(leaves[:split])]


def largest_power(size):
    return 1 << (size - 1).bit_length() - 1


def sign(claims, *, key=KEY, algorithm="Ed25519", typ="approval-receipt+jwt"):
    header = {"alg": algorithm, "kid": key.thumbprint, "typ": typ}
    text = json.dumps(claims, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()
    return jws.serialize_compact(
        header, text, OKPKey.import_key(key.private), algorithms=[algorithm]
    )


WITNESSES = {
    name: SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32))
    for n, name in enumerate(("w1", "w2"), 11)
}


def cosign(note, *names):
    lines = [cosign_note(note, f"{name}.example", WITNESSES[name], at=NOW) for name in names]
    return note + "".join(f"{line}\n" for line in lines)


PASSKEYS = {person: [encode(make_cose(make_passkey(person)))] for person in VOTES}
WRONG_SIGNATURES = {
    "a signature of another approval": {"approval": TASK},
    "a signature of another payload": {"payload_digest": "0" * 64},
    "a signature of another answer": {"choice": "no"},
    "a signature for another seat": {"seat": 1},
    "a signature of an earlier revision": {"revision": 0},
    "a signature made on another site": {"site": "https://elsewhere.example"},
    "a signature made in a frame": {"client": {"crossOrigin": True}},
    "a signature by an unverified person": {"flags": 1},
    "a signature of a registration": {"client": {"type": "webauthn.create"}},
}


def make_cases():
    good = make_claims()
    first, second = good["approvals"][0]["votes"]

    def with_votes(*votes, **changes):
        more = {name: changes.pop(name) for name in ("log",) if name in changes}
        approval = good["approvals"][0] | {"votes": list(votes)} | changes
        return make_claims(approvals=[approval], **more)

    def with_unsigned_votes(one, other, **changes):
        votes = ({**first, "signature": None, **one}, {**second, "signature": None, **other})
        return with_votes(*votes, log=make_log(signed=False), **changes)

    def with_log(**changes):
        return make_claims(log=make_log() | changes)

    events = make_log()["events"]
    alone = {"voter": first["voter"]}
    receipt = sign(good)
    head, body, signature = receipt.split(".")
    tampered = f"{head}.{body[:-8]}{body[-8:].swapcase()}.{signature}"
    policy_alone = make_claims(
        approvals=[], policy={"name": "Small", "version": 1, "verdict": "approve"}, log=None
    )
    yield "good, with its proof", receipt, None, {"require_log": True, "require_people": True}
    cosigned = sign(with_log(checkpoint=cosign(good["log"]["checkpoint"], *WITNESSES)))
    once = sign(with_log(checkpoint=cosign(good["log"]["checkpoint"], "w1", "w1")))
    other = cosign(make_log(digest="0" * 64)["checkpoint"], "w1")
    borrowed = good["log"]["checkpoint"] + other.splitlines()[-1] + "\n"
    yield "good, two witnesses cosigned", cosigned, None, {"witnesses": 2}
    yield "no witness cosigned", receipt, "log", {"witnesses": 1}
    yield "one witness cosigned twice", once, "log", {"witnesses": 2}
    yield (
        "a cosignature of another checkpoint",
        sign(with_log(checkpoint=borrowed)),
        "log",
        {"witnesses": 1},
    )
    yield (
        "witnesses are wanted, and there is no proof",
        sign(make_claims(log=None)),
        "log",
        {"witnesses": 1},
    )
    yield "good, each yes is signed", receipt, None, {"require_signatures": True}
    yield "good, by the known passkeys", receipt, None, {"passkeys": PASSKEYS}
    yield (
        "a passkey that nobody knows",
        receipt,
        "vote_signature",
        {"passkeys": PASSKEYS | {"2": PASSKEYS["1"]}},
    )
    yield (
        "a yes that is not signed",
        sign(with_votes(first, second | {"signature": None}, log=None)),
        "vote_signature",
        {"require_signatures": True},
    )
    yield (
        "a signature that the log has and the receipt lacks",
        sign(with_votes(first, second | {"signature": None})),
        "log",
        {},
    )
    for what, wrong in WRONG_SIGNATURES.items():
        signed = second | {"signature": sign_vote("2", **wrong)}
        yield what, sign(with_votes(first, signed, log=None)), "vote_signature", {}
    forged = second["signature"]["assertion"] | {
        "signature": first["signature"]["assertion"]["signature"]
    }
    yield (
        "another's signature",
        sign(
            with_votes(
                first, second | {"signature": second["signature"] | {"assertion": forged}}, log=None
            )
        ),
        "vote_signature",
        {},
    )
    yield "good, before it is sealed", sign(make_claims(log=None)), None, {}
    yield "good, its proof is wanted", sign(make_claims(log=None)), "log", {"require_log": True}
    yield "good, let pass by a policy", sign(policy_alone), None, {}
    yield "a policy alone, people are wanted", sign(policy_alone), "votes", {"require_people": True}
    yield "silence", sign(with_votes(decided_by="silence")), None, {}
    yield (
        "silence, people are wanted",
        sign(with_votes(decided_by="silence")),
        "votes",
        {"require_people": True},
    )
    yield "another payload", receipt, "payload", {"payload": PAYLOAD | {"to_role": "ops"}}
    yield "a member too many", receipt, "payload", {"payload": PAYLOAD | {"more": 1}}
    yield "a member too few", receipt, "payload", {"payload": {"data": PAYLOAD["data"]}}
    yield "tampered with", tampered, "signature", {}
    yield "another key", sign(good, key=STRANGER), "signature", {}
    yield "something else that is signed", sign(good, typ="JWT"), "malformed", {}
    yield "the old name of the algorithm", sign(good, algorithm="EdDSA"), None, {}
    yield "no receipt", "nonsense", "signature", {}
    yield "rejected", sign(make_claims(decision="rejected")), "rejected", {}
    yield "at its end", receipt, "expired", {"now": NOW + 600}
    yield "a second before its end", receipt, None, {"now": NOW + 599}
    yield "too few votes", sign(with_votes(first)), "votes", {}
    yield "one person twice", sign(with_votes(first, second | alone)), "votes", {}
    yield (
        "one seat twice",
        sign(with_votes(first, second | {"seat_of": first["seat_of"]})),
        "votes",
        {},
    )
    yield "a no is no yes", sign(with_votes(first, second | {"choice": "no"})), "votes", {}
    yield (
        "a vote for another payload",
        sign(with_votes(first, second | {"payload_digest": "0" * 64})),
        "votes",
        {},
    )
    yield (
        "a group that did not approve",
        sign(with_votes(first, second, status="rejected")),
        "votes",
        {},
    )
    yield "nobody is named", sign(make_claims(approvals=[])), "votes", {}
    yield "nobody is needed", sign(with_votes(needed=0)), "votes", {"require_people": True}
    yield "no id", sign({k: v for k, v in good.items() if k != "jti"}), "malformed", {}
    yield "no decision", sign({k: v for k, v in good.items() if k != "decision"}), "malformed", {}
    yield (
        "a proof that is cut",
        sign(with_log(events=[events[0] | {"proof": events[0]["proof"][:-1]}, *events[1:]])),
        "log",
        {},
    )
    yield (
        "a proof that is too long",
        sign(
            with_log(
                events=[events[0] | {"proof": [*events[0]["proof"], "A" * 43 + "="]}, *events[1:]]
            )
        ),
        "log",
        {},
    )
    yield (
        "another place in the log",
        sign(with_log(events=[events[0] | {"index": 9}, *events[1:]])),
        "log",
        {},
    )
    yield "good, nobody signed", sign(with_unsigned_votes({}, {})), None, {"require_log": True}
    yield "fewer votes than the log wants", sign(with_unsigned_votes({}, {}, needed=1)), "log", {}
    yield "another decision's id", sign(make_claims(jti=TASK)), "log", {}
    yield "a vote that the log lacks", sign(with_log(events=events[:2])), "log", {}
    yield (
        "a vote that the log has from somebody else",
        sign(with_votes(first, second | {"voter": {"id": "3", "name": "carol"}})),
        "log",
        {},
    )
    yield (
        "a vote that the log has in another seat",
        sign(with_unsigned_votes({}, {"seat_of": {"id": "3", "name": "carol"}})),
        "log",
        {},
    )
    yield (
        "votes that the log has for another approval",
        sign(with_unsigned_votes({}, {}, id=TASK)),
        "log",
        {},
    )
    yield (
        "a decision that the log has on another payload",
        sign(make_claims(log=make_log(digest="0" * 64))),
        "log",
        {},
    )
    yield "an end that the log has otherwise", sign(make_claims(exp=NOW + 6000)), "log", {}
    yield "an event of another task", sign(with_log(events=events[1:])), "log", {}
    yield (
        "an entry that was changed",
        sign(
            with_log(
                events=[
                    events[0] | {"entry": events[0]["entry"].replace("approved", "rejected")},
                    *events[1:],
                ]
            )
        ),
        "log",
        {},
    )
    yield (
        "a checkpoint of another key",
        sign(with_log(checkpoint=sign_note(f"{ORIGIN}\n11\nAAAA\n", ORIGIN, STRANGER))),
        "log",
        {},
    )
    yield "a checkpoint of another log", sign(with_log(origin="elsewhere.example/log")), "log", {}


def make_document():
    cases = [
        {
            "name": name,
            "receipt": receipt,
            "payload": PAYLOAD,
            "now": NOW,
            **options,
            "error": error,
        }
        for name, receipt, error, options in make_cases()
    ]
    keys = {"keys": [KEY.as_jwk() | {"kid": KEY.thumbprint, "use": "sig"}]}
    witnesses = [
        str(VerifierKey(f"{name}.example", key.public_bytes, COSIGNATURE_V1))
        for name, key in WITNESSES.items()
    ]
    document = {
        "keys": keys,
        "log_keys": [str(KEY.verifier_key(ORIGIN))],
        "witness_keys": witnesses,
        "cases": cases,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_the_file_is_what_is_made_here():
    made = make_document()
    if os.environ.get("UPDATE_DOCS"):
        FILE.write_text(made)
    assert FILE.read_text() == made, "run make docs"


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_the_python_verifier_passes_them():
    document = json.loads(FILE.read_text())
    for case in document["cases"]:
        names = ("require_log", "require_people", "require_signatures")
        options = {name: case.get(name, False) for name in names}
        options |= {"passkeys": case.get("passkeys"), "witnesses": case.get("witnesses", 0)}
        try:
            verify_receipt(
                case["receipt"],
                case["payload"],
                document["keys"],
                log_keys=document["log_keys"],
                witness_keys=document["witness_keys"],
                now=case["now"],
                **options,
            )
            found = None
        except ReceiptError as error:
            found = error.code
        assert found == case["error"], case["name"]


def test_our_own_proofs_are_the_rfcs():
    """The vectors' proofs are made naively, the log's from tiles."""
    leaves = [leaf_hash(bytes([n])) for n in range(11)]

    def read(height, number):
        return naive_root(leaves[number << height : (number + 1) << height])

    assert root_of(11, read) == naive_root(leaves)
    for index in range(11):
        assert list(inclusion_proof(index, 11, read)) == prove(leaves, index)


def test_the_typescript_verifier_passes_them():
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node.js is not installed: the TypeScript verifier is not tried.")
    folder = CLIENTS / "typescript"
    install = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--silent"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if install.returncode:
        pytest.skip(f"The TypeScript verifier's packages can't be had: {install.stderr[-200:]}")
    done = subprocess.run(
        ["npm", "test", "--silent"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
