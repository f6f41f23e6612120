"""What every command promises, whatever it does."""

import json
import os
import pty

import pytest

from tests.commands.conftest import expect_failure
from tests.factories import SessionFactory

COMMANDS = {
    "expire_sessions": [],
    "release_leases": [],
    "expire_approvals": [],
    "purge": [],
    "create_agent": ["newcomer", "--role", "ops"],
    "rotate_agent_key": ["bot"],
    "revoke_agent": ["bot"],
    "freeze": ["--everything", "--reason", "It pays twice."],
    "create_upstream": ["notes", "--role", "ops", "--url", "https://notes.example/mcp"],
    "create_reviewer": ["dora", "--role", "ops"],
    "seal_audit": [],
    "verify_audit": [],
    "reencrypt_secrets": [],
    "export_audit": ["--to", os.devnull],
}
SWEEPS = ("expire_sessions", "release_leases", "expire_approvals", "purge", "seal_audit")
NOBODY_LISTENS = "postgresql://x@127.0.0.1:9/x"


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "export_audit"])
def test_json_is_one_object(command, bot, run):
    assert isinstance(run(command, *COMMANDS[command]), dict)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unreachable_database_is_one_sentence(command, manage, tmp_path):
    arguments = [str(tmp_path / "trail") if a == os.devnull else a for a in COMMANDS[command]]
    process = manage(command, *arguments, DATABASE_URL=NOBODY_LISTENS)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("CommandError: PostgreSQL can't be reached: ")


@pytest.mark.parametrize("command", SWEEPS)
@pytest.mark.parametrize("size", ["0", "-1", "many", "١"])
def test_a_batch_has_a_size(command, size):
    _, sentence = expect_failure(command, f"--batch-size={size}")

    assert f"{size!r} is not a whole number above 0." in sentence


@pytest.mark.parametrize("command", ["expire_sessions", "purge"])
def test_a_length_of_time_that_is_none_is_told_with_an_example(command, bot):
    _, sentence = expect_failure(command, "--older-than", "7 weeks")

    assert sentence.endswith(
        "'7 weeks' is not a length of time: write a whole number above 0 and s, m, h or d, "
        "for example 7d."
    )


def test_long_work_shows_its_progress_on_a_terminal_and_only_there(bot, backdate, manage):
    sessions = SessionFactory.create_batch(2, agent=bot)
    backdate(*sessions, days=8)
    terminal, end = pty.openpty()
    try:
        process = manage("expire_sessions", "--format", "json", "--batch-size", "1", stderr=end)
        out, _ = process.communicate(timeout=30)
        shown = os.read(terminal, 10_000).decode()
    finally:
        os.close(terminal)
        os.close(end)

    assert json.loads(out)["sessions"] == 2
    assert "Expired 1 session …" in shown
    assert "Expired 2 sessions …" in shown
    assert shown.endswith("\r\x1b[K")
