#!/usr/bin/env bash
# standardwebhooks 1.1.0 (Python): the same instant in two time zones gets two signatures.
#
# `Webhook.sign(msg_id, timestamp, data)` takes an aware datetime and replaces its zone by UTC instead of
# converting it. 12:00+02:00 is signed as 12:00 UTC, two hours later than meant, and a receiver whose
# `webhook-timestamp` header says 10:00 UTC refuses the delivery. Convert to UTC before signing.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check standardwebhooks==1.1.0
"$place/venv/bin/python" - <<'PROGRAM'
from datetime import UTC, datetime, timedelta, timezone

from standardwebhooks import Webhook

webhook = Webhook("whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")
instant = datetime(2026, 1, 2, 10, 0, tzinfo=UTC)
elsewhere = instant.astimezone(timezone(timedelta(hours=2)))
assert elsewhere == instant
two_hours_later = instant + timedelta(hours=2)
signed, signed_elsewhere, signed_later = (
    webhook.sign("msg_1", moment, "{}") for moment in (instant, elsewhere, two_hours_later)
)
print("standardwebhooks 1.1.0")
print("the same instant, the same signature:", signed == signed_elsewhere)
print("signed as two hours later:", signed_elsewhere == signed_later)
assert signed != signed_elsewhere
assert signed_elsewhere == signed_later
PROGRAM
