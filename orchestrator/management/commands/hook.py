"""Install the hook by which Claude Code asks the orchestrator about tool calls."""

import difflib
import os
import tempfile
from argparse import ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import CommandError, CommandParser

from audit_app.commands import OperatorCommand
from orchestrator.hooks import settings_file
from orchestrator.hooks.claude_code import EVENTS

SHORTEST_TIMEOUT = 2 * settings_file.MARGIN


class Command(OperatorCommand):
    help = (
        "Have Claude Code ask the orchestrator before it uses a tool, as the agent whose key is in "
        f"{settings_file.KEY_VARIABLE} where Claude Code runs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("action", choices=("install",))
        parser.add_argument("--uninstall", action="store_true", help="take it out again")
        parser.add_argument(
            "--project",
            type=Path,
            metavar="FOLDER",
            help="change the settings of this project instead of the user's",
        )
        parser.add_argument("--url", type=_url, default="http://127.0.0.1:8000", help="where it is")
        parser.add_argument(
            "--event",
            choices=EVENTS,
            default=EVENTS[0],
            help="ask about each call (the default), or only where Claude Code would ask its user",
        )
        parser.add_argument(
            "--matcher", default=settings_file.MATCHER, help="the names of tools, as a pattern"
        )
        parser.add_argument(
            "--timeout",
            type=_timeout,
            default=600,
            metavar="SECONDS",
            help="how long a call waits for people before it is denied (600)",
        )
        parser.add_argument(
            "--command",
            action="store_true",
            dest="by_command",
            help="ask with curl, for versions of Claude Code before 2.1.295",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="show what would change, and change nothing"
        )

    def handle(self, *args: Any, project: Path | None, dry_run: bool, **options: Any) -> None:
        path = _find_settings(project)
        try:
            # Bytes, because Path.read_text would change line ends.
            before = path.read_bytes().decode() if path.exists() else ""
            after = _change(before, options)
        except (settings_file.InvalidSettings, UnicodeDecodeError) as error:
            raise CommandError(f"{path} was not changed. {error}") from error
        changes = after != before
        facts = {"path": str(path), "changed": changes and not dry_run}
        if dry_run:
            diff = "\n".join(_diff(path, before, after))
            self.report({**facts, "diff": diff}, diff)
        elif not changes:
            self.report(facts, f"{path} is as it should be already.")
        else:
            _write(path, after)
            self.report(facts, f"Changed {path}.")


def _diff(path: Path, before: str, after: str) -> Iterator[str]:
    texts = (before.splitlines(), after.splitlines())
    return difflib.unified_diff(*texts, str(path), str(path), lineterm="")


def _change(before: str, options: dict[str, Any]) -> str:
    if options["uninstall"]:
        return settings_file.uninstall(before) if before.strip() else before
    handler = settings_file.build_handler(
        options["url"], options["timeout"], by_command=options["by_command"]
    )
    text = before if before.strip() else "{}\n"
    return settings_file.install(text, options["event"], options["matcher"], handler)


def _find_settings(project: Path | None) -> Path:
    if project is not None and not project.is_dir():
        raise CommandError(f"{project} is not a folder.")
    configured = os.environ.get("CLAUDE_CONFIG_DIR")
    user = Path(configured) if configured else Path.home() / ".claude"
    folder = user if project is None else project / ".claude"
    return (folder / "settings.json").resolve()  # people link it from elsewhere


def _write(path: Path, text: str) -> None:
    """Replace the file at once, so that Claude Code never reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(mode)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or set(text) & set("'\"\\ \n$`"):
        raise ArgumentTypeError(f"{text!r} is not an HTTP address.")
    return text


def _timeout(text: str) -> int:
    if not text.isdigit() or not SHORTEST_TIMEOUT <= int(text) <= 3_600:
        raise ArgumentTypeError(f"It must be {SHORTEST_TIMEOUT} to 3600 seconds.")
    return int(text)
