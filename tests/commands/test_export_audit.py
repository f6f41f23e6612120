"""The trail can be taken elsewhere, byte for byte."""

import hashlib
import io
import json
import signal
import stat

import pytest
from django.core.management import call_command

from audit_app.models import Event
from tests.commands.conftest import expect_failure, run_for_output, wait_until_something_waits_for
from tests.factories import TaskFactory


@pytest.fixture
def entries(bot):
    """What the export must be."""
    TaskFactory(agent=bot, description="Grüße 𝄞")
    rows = Event.objects.order_by("position").values_list("entry", flat=True)
    return "".join(f"{entry}\n" for entry in rows)


def test_entries_come_in_order_one_a_line(entries):
    assert run_for_output("export_audit") == entries


def test_standard_output_has_the_bytes_and_standard_error_their_digest(entries, manage):
    process = manage("export_audit", PYTHONIOENCODING="latin-1")
    out, err = process.communicate(timeout=30)

    digest = hashlib.sha256(entries.encode()).hexdigest()
    assert (process.returncode, out) == (0, entries)
    assert err == f"Wrote {len(entries.splitlines())} events; SHA-256 {digest}\n"


def test_a_file_appears_whole_and_for_its_owner_alone(entries, tmp_path):
    path, told = tmp_path / "trail.jsonl", io.StringIO()
    path.write_text("an older export")

    call_command("export_audit", "--to", str(path), "--format", "json", stderr=told)

    assert path.read_text() == entries
    assert json.loads(told.getvalue()) == {
        "events": len(entries.splitlines()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "file": str(path),
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_stopped_export_leaves_no_file(entries, manage, elsewhere, tmp_path):
    elsewhere.execute("LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE")

    process = manage("export_audit", "--to", str(tmp_path / "trail.jsonl"))
    wait_until_something_waits_for(elsewhere)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 128 + signal.SIGTERM
    assert err == "CommandError: Stopped by SIGTERM before the end.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    out, sentence = expect_failure("export_audit", "--to", str(tmp_path / "missing" / "trail"))

    assert out == ""
    assert sentence == f"{tmp_path / 'missing'}: No such file or directory."
