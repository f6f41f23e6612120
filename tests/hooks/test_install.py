"""`manage.py hook install`: what it writes, and that it leaves everything else as it was."""

import json
import os
import shutil
import subprocess
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from orchestrator.hooks.settings_file import MATCHER, build_handler
from tests.factories import policy
from tests.hooks.test_claude_code import bash
from tests.serving import client_of, free_port, gunicorn, on_the_tests_database

HANDLER = build_handler("http://127.0.0.1:8000", 600, by_command=False)
THEIRS = {"type": "command", "command": "date"}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """The user's settings, which are not there yet."""
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude"))
    return tmp_path / "claude" / "settings.json"


def hook(*options: str) -> None:
    call_command("hook", "install", *options)


def write_settings(settings: Any, text: str) -> Any:
    settings.parent.mkdir(exist_ok=True)
    settings.write_bytes(text.encode())
    return settings


FILES = {
    "nothing of hooks": '{\n  "model": "opus",\n  "env": {"A": "1"}\n}\n',
    "tabs": '{\n\t"model": "opus"\n}',
    "CRLF": '{\r\n    "model": "opus"\r\n}\r\n',
    "one line": '{"model":"opus"}',
    "another event": json.dumps({"hooks": {"Stop": [{"hooks": [THEIRS]}]}, "z": 1}, indent=4),
    "another hook": json.dumps(
        {"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [THEIRS]}]}}, indent=2
    ),
    "odd spacing": '{ "hooks" : {\n"PreToolUse":[ {"matcher":"x" , "hooks":[]} ]} , "é":"\\u00e9"}',
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
class TestAnExistingFile:
    def test_the_hook_is_added(self, settings, text):
        write_settings(settings, text)
        hook()
        said = json.loads(settings.read_text())
        assert said["hooks"]["PreToolUse"][-1] == {"matcher": MATCHER, "hooks": [HANDLER]}
        before = json.loads(text)
        said["hooks"]["PreToolUse"].pop()
        if not said["hooks"]["PreToolUse"]:
            del said["hooks"]["PreToolUse"]
        assert said == {"hooks": {}, **before}

    def test_no_byte_of_theirs_is_lost(self, settings, text):
        """What was there is still there, in its order, with what is ours in between."""
        write_settings(settings, text)
        hook()
        after = iter(settings.read_bytes())
        assert all(byte in after for byte in text.encode())

    def test_uninstall_gives_the_same_bytes_again(self, settings, text):
        write_settings(settings, text)
        hook()
        hook("--uninstall")
        assert settings.read_bytes() == text.encode()

    def test_a_second_run_changes_nothing(self, settings, text):
        write_settings(settings, text)
        hook()
        first = settings.read_bytes()
        hook()
        assert settings.read_bytes() == first

    def test_other_options_replace_it(self, settings, text):
        write_settings(settings, text)
        hook()
        hook("--event", "PermissionRequest", "--timeout", "60", "--url", "https://o.example/")
        said = settings.read_text()
        assert said.count("/hooks/claude-code") == 1
        [group] = json.loads(said)["hooks"]["PermissionRequest"]
        assert group["hooks"][0]["url"] == "https://o.example/hooks/claude-code?wait=50"
        hook("--uninstall")
        assert settings.read_bytes() == text.encode()

    def test_a_dry_run_shows_and_changes_nothing(self, settings, text, capsys):
        write_settings(settings, text)
        hook("--dry-run")
        assert settings.read_bytes() == text.encode()
        shown = capsys.readouterr().out
        assert shown.startswith("--- ")
        assert '"url": "http://127.0.0.1:8000/hooks/claude-code?wait=590"' in shown


class TestWithoutAFile:
    @pytest.mark.parametrize("text", [None, "", "\n"])
    def test_it_is_made(self, settings, text):
        if text is not None:
            write_settings(settings, text)
        hook()
        group = {"matcher": MATCHER, "hooks": [HANDLER]}
        assert json.loads(settings.read_text()) == {"hooks": {"PreToolUse": [group]}}
        assert HANDLER == {
            "type": "http",
            "url": "http://127.0.0.1:8000/hooks/claude-code?wait=590",
            "headers": {"Authorization": "Bearer $ORCHESTRATOR_KEY"},
            "allowedEnvVars": ["ORCHESTRATOR_KEY"],
            "timeout": 600,
            "onFailure": "block",
            "statusMessage": "Waiting for approval",
        }

    def test_uninstall_makes_none(self, settings):
        hook("--uninstall")
        assert not settings.exists()

    def test_a_project(self, settings, tmp_path):
        hook("--project", str(tmp_path))
        assert (tmp_path / ".claude/settings.json").exists()
        assert not settings.exists()


class TestForPrograms:
    def test_what_was_done(self, settings, capsys):
        for options, changed in ((("--dry-run",), False), ((), True), ((), False)):
            hook("--format", "json", *options)
            said = json.loads(capsys.readouterr().out)
            assert (said["path"], said["changed"]) == (str(settings), changed)

    def test_a_folder_that_cannot_be_written(self, settings):
        settings.parent.write_text("a file")
        with pytest.raises(CommandError):
            hook()


class TestOthersInOurGroup:
    def test_they_stay(self, settings):
        ours = {"matcher": "Bash", "hooks": [HANDLER, THEIRS]}
        write_settings(settings, json.dumps({"hooks": {"PreToolUse": [ours]}}, indent=2))
        hook("--uninstall")
        left = {"matcher": "Bash", "hooks": [THEIRS]}
        assert json.loads(settings.read_text()) == {"hooks": {"PreToolUse": [left]}}


class TestTheFile:
    def test_its_mode_and_a_link_to_it_stay(self, settings, tmp_path):
        real = tmp_path / "dotfiles.json"
        real.write_text("{}")
        real.chmod(0o600)
        settings.parent.mkdir()
        settings.symlink_to(real)
        hook()
        assert settings.is_symlink()
        assert real.stat().st_mode & 0o777 == 0o600
        assert os.listdir(settings.parent) == ["settings.json"]

    @pytest.mark.parametrize(
        "text",
        ["{", "[]", "7", '{"a": 1} x', "{'a': 1}", '{"a": 1,}', "// no\n{}", '{"hooks": []}',
         '{"hooks": {"PreToolUse": {}}}', '{"a" 1}', "[" * 5_000],
    )  # fmt: skip
    def test_what_is_no_settings_file_is_left(self, settings, text):
        write_settings(settings, text)
        with pytest.raises(CommandError, match="was not changed"):
            hook()
        assert settings.read_text() == text

    @pytest.mark.parametrize(
        "options",
        [("--url", "ftp://x"), ("--url", "http://x/';rm"), ("--timeout", "5"),
         ("--event", "Stop"), ("--project", "/nowhere")],
    )  # fmt: skip
    def test_options_that_there_are_not(self, settings, options):
        with pytest.raises(CommandError):
            hook(*options)
        assert not settings.exists()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
class TestTheCommand:
    """What Claude Code runs instead of sending a request, with the call on standard input."""

    def run(self, url: str, key: str) -> "subprocess.CompletedProcess[str]":
        command = build_handler(url, 30, by_command=True)["command"]
        return subprocess.run(
            ["sh", "-c", command],
            input=json.dumps(bash()),
            env={**os.environ, "ORCHESTRATOR_KEY": key},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_it_asks(self, bot, tmp_path):
        policy(then="approve")
        port = free_port()
        with gunicorn(tmp_path / "log", on_the_tests_database(port, DATA_DIR=str(tmp_path))):
            with client_of(port) as client:
                assert client.get("/status").status_code == 200
            done = self.run(f"http://127.0.0.1:{port}", bot.key)
            refused = self.run(f"http://127.0.0.1:{port}", "wrong")
            missing = self.run(f"http://127.0.0.1:{port}/elsewhere", bot.key)
        assert done.returncode == refused.returncode == 0
        assert json.loads(done.stdout)["hookSpecificOutput"]["permissionDecision"] == "allow"
        assert json.loads(refused.stdout)["hookSpecificOutput"]["permissionDecision"] == "deny"
        assert missing.returncode == 2

    def test_nobody_answers(self):
        done = self.run(f"http://127.0.0.1:{free_port()}", "k")
        assert done.returncode == 2
        assert done.stderr.endswith(
            "The orchestrator could not be asked, so this call is blocked.\n"
        )
