"""The console script ``orchestrator``: ``make run`` and ``manage.py`` without a checkout."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator import __version__

USAGE = """\
usage: orchestrator run [--port PORT]     a complete trial on this machine
       orchestrator serve [OPTION …]      the web server of production; options are gunicorn's
       orchestrator manage COMMAND …      any management command; `manage help` lists them
       orchestrator --version
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that ``arguments`` (by default those of the process) name.

    Raises:
        SystemExit: with 2 for a command that does not exist, else with the command's own status.
    """
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    commands: dict[str, Callable[[list[str]], None]] = {
        "run": _run_trial,
        "serve": _serve,
        "manage": lambda rest: run_management_command(["orchestrator manage", *rest]),
        "--version": lambda _: _print(__version__),
        "--help": lambda _: _print(USAGE.rstrip()),
        "-h": lambda _: _print(USAGE.rstrip()),
    }
    if name not in commands:
        sys.exit(_complain(f"There is no command {name!r}.\n{USAGE}"))
    commands[name](rest)


def run_management_command(arguments: list[str]) -> None:
    """Run a management command. ``arguments`` are a process's: the first is the program's name."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(arguments)
    except ImproperlyConfigured as error:
        sys.exit(f"{error}")


def _run_trial(arguments: list[str]) -> None:
    os.environ["TRIAL"] = "on"
    run_management_command(["orchestrator run", "dev", *arguments])


def _serve(arguments: list[str]) -> None:
    """Become gunicorn, so that signals reach it as they would without us."""
    configuration = Path(__file__).with_name("server") / "gunicorn.py"
    command = ["-m", "gunicorn", "-c", str(configuration), *arguments, "orchestrator.asgi"]
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606  # no shell is wanted


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(text: str) -> int:
    sys.stderr.write(text)
    return 2
