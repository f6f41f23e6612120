"""Cosignatures of witnesses: others who confirm that the log only grew (c2sp.org/tlog-witness).

The newest checkpoint goes to each witness that AUDIT_WITNESS_POLICY names with a URL, with a proof
that it continues the last one that this witness cosigned. What comes back is verified, kept beside
the checkpoint, and joined to it wherever it is shown. A witness that does not answer is asked again
with the next checkpoint: sealing never waits for it.
"""

from base64 import b64encode
from functools import cache
from pathlib import Path

import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from audit_app.base import http_client
from audit_app.base.http_client import Answer, NoAnswer
from audit_app.models import Checkpoint, Cosignature
from audit_app.proof import proofs
from audit_app.proof.merkle import consistency_proof
from audit_app.proof.notes import Note, NoteError, VerifierKey, parse_note, verify_cosignature
from audit_app.proof.tiles import tile_reader
from audit_app.proof.trust_policy import PolicyError, TrustPolicy, Witness

log = structlog.get_logger("orchestrator.witnesses")

SECONDS = 10
MAX_ANSWER = 100_000
LONGEST_SIZE = 19
"""Digits of a size; more are none, and would take long to read."""
CHECKPOINTS_TRIED = 100
"""How far back a checkpoint with enough cosignatures is looked for."""


class WitnessRefused(Exception):
    """A witness did not cosign; the message says why."""


def load_policy() -> TrustPolicy:
    """The policy that AUDIT_WITNESS_POLICY is or names the file of. Raises ImproperlyConfigured."""
    return _load(settings.AUDIT_WITNESS_POLICY)


@cache
def _load(given: str) -> TrustPolicy:
    try:
        return TrustPolicy.parse(Path(given).read_text() if _is_path(given) else given)
    except OSError as error:
        raise ImproperlyConfigured(f"AUDIT_WITNESS_POLICY: {error.strerror}: {given}") from None
    except PolicyError as error:
        raise ImproperlyConfigured(f"AUDIT_WITNESS_POLICY: {error}") from None


def _is_path(given: str) -> bool:
    return bool(given) and "\n" not in given


def collect_cosignatures() -> int:
    """Ask each witness to cosign the newest checkpoint, and keep what it says.

    Returns how many cosignatures are new. Holds no transaction while a witness is asked.
    """
    checkpoint = proofs.newest_checkpoint()
    if checkpoint is None:
        return 0
    known = set(checkpoint.cosignatures.values_list("witness", flat=True))
    asked = [each for each in load_policy().witnesses.values() if each.url]
    return sum(_ask(each, checkpoint) for each in asked if each.key.name not in known)


def cosigned_note(checkpoint: Checkpoint) -> str:
    """The checkpoint's note, with the signatures of its witnesses below its own."""
    lines = checkpoint.cosignatures.order_by("witness").values_list("line", flat=True)
    return checkpoint.note + "".join(f"{line}\n" for line in lines)


def is_cosigned_by(key: VerifierKey, note: str, line: str) -> bool:
    """Whether the kept ``line`` is the signature of ``note`` by the witness with ``key``."""
    try:
        return verify_cosignature(parse_note(f"{note}{line}\n"), key) is not None
    except NoteError:
        return False


def newest_trusted_checkpoint() -> Checkpoint | None:
    """The newest checkpoint that has the cosignatures of the policy's quorum."""
    policy = load_policy()
    if policy.quorum == "none":
        return proofs.newest_checkpoint()
    checkpoints = Checkpoint.objects.select_related("epoch").order_by("-number")
    cosigned = checkpoints.filter(cosignatures__isnull=False).distinct()[:CHECKPOINTS_TRIED]
    satisfied = (each for each in cosigned if policy.is_satisfied(parse_note(cosigned_note(each))))
    return next(satisfied, None)


def _ask(witness: Witness, checkpoint: Checkpoint) -> bool:
    try:
        line = _request_cosignature(witness, checkpoint)
    except (WitnessRefused, NoAnswer) as error:
        log.warning("witness", witness=witness.name, size=checkpoint.size, failure=str(error))
        return False
    _, is_new = Cosignature.objects.get_or_create(
        checkpoint=checkpoint, witness=witness.key.name, defaults={"line": line}
    )
    return is_new


def _request_cosignature(witness: Witness, checkpoint: Checkpoint) -> str:
    """The line that ``witness`` signs ``checkpoint`` with. Raises WitnessRefused and NoAnswer."""
    old = _find_cosigned_size(witness, checkpoint)
    answer = _post(witness, checkpoint, old)
    if answer.status == 409:
        # It knows another size than we remember, after a restore or a lost answer.
        known = answer.body.strip()
        if not known.isdigit() or len(known) > LONGEST_SIZE or int(known) > checkpoint.size:
            seen = known[:LONGEST_SIZE].decode(errors="replace") or "no number of"
            raise WitnessRefused(f"It has seen {seen} leaves.")
        answer = _post(witness, checkpoint, int(known))
    if answer.status != 200:
        reason = answer.body[:200].decode(errors="replace").strip()
        raise WitnessRefused(f"It answered {answer.status}: {reason}")
    return _verify_answer(witness, checkpoint, answer.body)


def _find_cosigned_size(witness: Witness, checkpoint: Checkpoint) -> int:
    sizes = Checkpoint.objects.filter(
        epoch=checkpoint.epoch, cosignatures__witness=witness.key.name
    ).values_list("size", flat=True)
    return max(sizes.order_by("-size")[:1], default=0)


def _post(witness: Witness, checkpoint: Checkpoint, old: int) -> Answer:
    proof = consistency_proof(old, checkpoint.size, tile_reader())
    lines = [f"old {old}", *(b64encode(each).decode() for each in proof), "", checkpoint.note]
    return http_client.send(
        "POST",
        f"{witness.url}/add-checkpoint",
        seconds=SECONDS,
        at_most=MAX_ANSWER,
        content="\n".join(lines).encode(),
    )


def _verify_answer(witness: Witness, checkpoint: Checkpoint, body: bytes) -> str:
    """The witness's own line among those it answered, none of which we take unverified."""
    try:
        own = parse_note(checkpoint.note)
        answered = parse_note(f"{own.text}\n{body.decode()}")
    except (NoteError, UnicodeDecodeError):
        raise WitnessRefused("It answered something that is no cosignature.") from None
    for signature in answered.signatures:
        line = Note(own.text, (signature,))
        if verify_cosignature(line, witness.key) is not None:
            return str(signature)
    raise WitnessRefused("Its cosignature is not by the key that the policy names.")
