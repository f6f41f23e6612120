"""The examples of docs/webhooks.md, as they stand there, verify what is sent and nothing else."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from audit_app.webhooks import operations
from audit_app.webhooks.operations import public_key
from tests.factories import OPS
from tests.webhooks.conftest import read_deliveries, try_delivery
from tests.webhooks.test_deliveries import note

DOCUMENT = Path(settings.BASE_DIR) / "docs/webhooks.md"
EXAMPLES = re.findall(r"^```(\w+) (secret|public)\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)
RUNNERS = {"python": [sys.executable], "javascript": [shutil.which("node") or "node"]}
PROGRAMS = {
    "python": (
        "{code}\nimport json, sys\n"
        "given = json.load(sys.stdin)\n"
        'event = verify(given["body"].encode(), given["headers"], given["key"])\n'
        "json.dump(event, sys.stdout)\n"
    ),
    "javascript": (
        '{code}\nconst given = JSON.parse(require("node:fs").readFileSync(0));\n'
        "const event = verify(Buffer.from(given.body), given.headers, given.key);\n"
        "process.stdout.write(JSON.stringify(event));\n"
    ),
}


@pytest.fixture
def signed_delivery(webhook, receiver, bot):
    """A delivery as it arrived, with the keys that verify it."""
    note(bot)
    try_delivery(read_deliveries()[0])
    [request] = receiver.got
    headers = {name.lower(): value for name, value in request.headers.items()}
    keys = {"secret": webhook.secret_text, "public": public_key(webhook)}
    return {"body": request.body.decode(), "headers": headers}, keys


def test_there_is_an_example_for_each_language_and_key():
    assert {(language, key) for language, key, _ in EXAMPLES} == {
        (language, key) for language in RUNNERS for key in ("secret", "public")
    }


@pytest.mark.parametrize(("language", "kind", "code"), EXAMPLES, ids=lambda value: str(value)[:10])
def test_an_example_verifies_what_is_sent_and_nothing_else(
    signed_delivery, tmp_path, language, kind, code
):
    if not shutil.which(RUNNERS[language][0]):
        pytest.skip("Node is not installed.")
    delivery, keys = signed_delivery
    other, secret = operations.create_webhook(
        "other", by=OPS, url="https://x.example/", event_types=[], roles=[]
    )
    strange = {"secret": secret, "public": public_key(other)}[kind]
    program = tmp_path / "example"
    program.write_text(PROGRAMS[language].replace("{code}", code))

    def verify(**changes):
        given = delivery | {"key": keys[kind]} | changes
        command = [*RUNNERS[language], str(program)]
        done = subprocess.run(
            command, input=json.dumps(given), capture_output=True, text=True, timeout=60
        )
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    headers = delivery["headers"]
    both = {"webhook-signature": f"v1,AAAA v1a,AAAA v2,x {headers['webhook-signature']}"}
    assert verify() == json.loads(delivery["body"])
    assert verify(headers=headers | both) == json.loads(delivery["body"])
    for changes in (
        {"body": delivery["body"] + " "},
        {"key": strange},
        {"headers": headers | {"webhook-id": "another"}},
        {"headers": headers | {"webhook-timestamp": "1700000000"}},
        {"headers": headers | {"webhook-timestamp": "soon"}},
        {"headers": headers | {"webhook-signature": "v1, v1a,AAAA"}},
    ):
        assert "Error" in verify(**changes) or "InvalidSignature" in verify(**changes)
