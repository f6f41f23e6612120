"""Nothing is found in what was honestly written, however it was committed and sealed."""

import os
import random

from django.db import transaction

from audit_app.proof import sealing
from audit_app.proof.proofs import newest_checkpoint
from audit_app.proof.verification import LogVerification, read_kept_checkpoint
from audit_app.trail.verification import Verification
from tests.audit.test_sealing import seal_all
from tests.database import empty
from tests.trail import write_event, writer

ATTEMPTS = int(os.environ.get("TAMPERINGS", "12"))


def findings(*kept):
    verification = Verification()
    with transaction.atomic():
        LogVerification(verification).verify(lambda _: None, kept)
    return [str(finding) for finding in verification.findings]


def test_honest_histories():
    """Events of several writers, committed and rolled back in any order, sealed in between."""
    chance = random.Random(ATTEMPTS)  # to be repeated
    writers = [writer() for _ in range(3)]
    try:
        for _ in range(ATTEMPTS):
            live_a_history(writers, chance)
            empty()
    finally:
        for one in writers:
            one.close()


def live_a_history(writers, chance):
    for _ in range(chance.randint(5, 60)):
        one = chance.choice(writers)
        match chance.randrange(8):
            case 0:
                one.rollback()
            case 1 | 2:
                one.commit()
            case 3:
                sealing.seal_batch(chance.randint(1, 20))
            case _:
                write_event(one)
    assert findings() == []
    for one in writers:
        one.commit()
    seal_all(chance.randint(1, 300))
    if checkpoint := newest_checkpoint():
        assert findings(read_kept_checkpoint(checkpoint.note, "kept")) == []
