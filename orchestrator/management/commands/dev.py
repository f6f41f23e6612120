"""What ``make run`` runs: a complete trial on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection
from django.utils.crypto import get_random_string

from approvals_app.models import Approval, ApprovalPolicy
from approvals_app.policy import operations
from approvals_app.policy.files import parse_file
from audit_app.base.actors import Actor
from audit_app.base.canonical import digest
from orchestrator.ops import embedded_postgres
from orchestrator.ops.database_roles import Login, create_roles
from orchestrator.settings import database
from sessions_app import agents
from sessions_app.models import Agent, AgentKey

REVIEWERS = {
    "alice": ["finance"],
    "bob": ["finance", "dba", "sre"],
    "charlie": ["marketing"],
    "dave": ["finance", "legal"],
    "erin": ["dba", "sre"],
}
SHOWN = ("alice", "bob", "charlie")
"""Whose passwords are printed: enough for a policy that needs two people."""

DEMO = settings.ASSETS_DIR / "examples" / "agent.py"
DEMO_AGENT = "support-bot"
DEMO_ROLE = "support-agent"


class Command(BaseCommand):
    help = "Set up a trial (database, reviewers, an agent, a task that waits) and serve it."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 8000))

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        if not settings.TRIAL:
            raise CommandError(
                "This is for trials; serve with gunicorn, as docs/operating.md says."
            )
        _require_free(port)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # even into a pipe
        stopping = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: stopping.set())
        children: list[subprocess.Popen[str]] = []
        data = settings.DATA_DIR / "postgres"
        try:
            if settings.EMBEDDED:
                self.stdout.write("Starting PostgreSQL …")
                _use(embedded_postgres.start(data))
            self.stdout.write("Migrating the database …")
            Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
            call_command("migrate", verbosity=0)
            passwords, key = _create_demo_accounts(settings.DATA_DIR / "demo.json")
            connection.close()
            web = _start_web(port)
            children += [web, _start_worker()]
            _wait_until_up(port, web, stopping)
            self._print_addresses(port, passwords, key)
            if not stopping.is_set():
                children.append(self._start_agent(port, key))
            while not stopping.wait(0.5):
                if web.poll() is not None:
                    raise CommandError(_explain_with_log("The web server stopped by itself"))
        except embedded_postgres.EmbeddedPostgresError as error:
            raise CommandError(str(error)) from None
        except (OperationalError, psycopg.OperationalError) as error:
            raise CommandError(f"PostgreSQL can't be reached: {str(error).strip()}") from None
        except OSError as error:
            raise CommandError(f"{error.strerror}: {error.filename}") from None
        finally:
            if children:
                with suppress(OSError):  # the terminal may be gone, but the children must stop
                    self.stdout.write("\nStopping …")
            # The agent first, then the worker and the server that it talks to.
            for child in reversed(children):
                _stop(child)
            if settings.EMBEDDED:
                embedded_postgres.stop(data)

    def _print_addresses(self, port: int, passwords: dict[str, str], key: str) -> None:
        # By name, as passkeys need it; at 127.0.0.1 the login page redirects.
        url = f"http://localhost:{port}"
        environment = f"ORCHESTRATOR_URL={url} ORCHESTRATOR_KEY={key}"
        headline = self.style.SUCCESS("The orchestrator is running.")
        lines = (
            "",
            f"{headline} Ctrl-C stops it; data and logs stay in {_relative(settings.DATA_DIR)}/.",
            "",
            f"Review   {url}/admin/",
            *(
                f"           as  {name:<7}  with the password  {passwords[name]}"
                f"  ({', '.join(REVIEWERS[name])})"
                for name in SHOWN
            ),
            f"API      {url}/docs",
            f"Key      {key}",
            f'Try      curl -H "Authorization: Bearer {key}" {url}/tasks',
            f"         {environment} {_relative(sys.executable)} {_relative(DEMO)} wire_transfer",
            "",
        )
        for line in lines:
            self.stdout.write(f"  {line}")

    def _start_agent(self, port: int, key: str) -> "subprocess.Popen[str]":
        """Start the demo agent, a real client in its own process, and print its output.

        It waits for its task of the last run, or else routes a refund.
        """
        task_id = _find_waiting_task()
        arguments = ["--task", str(task_id)] if task_id else ["refund"]
        agent = subprocess.Popen(
            [sys.executable, str(DEMO), *arguments, "--url", f"http://localhost:{port}"],
            cwd=settings.BASE_DIR,
            env={**os.environ, "ORCHESTRATOR_KEY": key, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

        def show() -> None:
            for line in agent.stdout or ():
                self.stdout.write(f"  agent │ {line.rstrip()}")

        threading.Thread(target=show, daemon=True).start()
        return agent


def _use(server: embedded_postgres.Server) -> None:
    """Connect to ``server`` with the application's role, as in production."""
    owner, application = Login.of(server.owner_url), Login.of(server.application_url)
    with psycopg.connect(server.url) as admin:
        create_roles(admin, owner=owner, application=application)
    settings.DATABASE_OWNER_URL = server.owner_url
    connection.settings_dict.update(database(server.application_url))


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            # Tried before anything is started, so that the message is the only output.
            probe.bind(("127.0.0.1", port))
        except OSError:
            again = (
                f"orchestrator run --port {port + 1}"
                if settings.INSTALLED
                else (f"make run PORT={port + 1}")
            )
            raise CommandError(
                f"Port {port} is taken: stop what uses it, or run `{again}`."
            ) from None


def _create_demo_accounts(file: Path) -> tuple[dict[str, str], str]:
    """Create the reviewers and the agent, or find them; return their passwords and its key.

    Passwords and key are stored in ``file``.
    """
    accounts: dict[str, Any] = {"passwords": {}, "key": ""}
    if file.exists():
        accounts = json.loads(file.read_text())
    for name, roles in REVIEWERS.items():
        password = accounts["passwords"].setdefault(name, get_random_string(14))
        user, _ = User.objects.get_or_create(username=name, defaults={"is_staff": True})
        # A new hash would end the reviewers' sessions of the last run.
        if not user.check_password(password):
            user.set_password(password)
            user.save()
        user.groups.set([Group.objects.get_or_create(name=role)[0] for role in roles])
    if not ApprovalPolicy.objects.exists():
        policies = settings.ASSETS_DIR / "examples" / "policies.yaml"
        operations.apply_policies(parse_file(policies.read_text()), by=Actor.system("dev"))
    accounts["key"] = _get_demo_key(accounts["key"])
    file.touch(mode=0o600)
    file.write_text(json.dumps(accounts, indent=1))
    return accounts["passwords"], accounts["key"]


def _get_demo_key(key: str) -> str:
    """``key`` if it still works, else a new key of the demo agent."""
    by = Actor.system("dev")
    agent = Agent.objects.filter(name=DEMO_AGENT).first()
    if agent is None:
        return agents.create_agent(DEMO_AGENT, by=by, roles=[DEMO_ROLE])[1].text
    if AgentKey.objects.filter(agent=agent, hash=digest(key), revoked_at=None).exists():
        return key
    return agents.rotate_key(agent.pk, by=by).text


def _find_waiting_task() -> UUID | None:
    """The id of the task that the demo agent still waits for, if any."""
    waiting = Approval.objects.pending().filter(task__agent__name=DEMO_AGENT)
    task_id: UUID | None = waiting.values_list("task_id", flat=True).first()
    connection.close()
    return task_id


def _start_web(port: int) -> "subprocess.Popen[str]":
    gunicorn = ("-m", "gunicorn", "-c", "orchestrator/server/gunicorn.py", "orchestrator.asgi")
    return _start_process(_log(), *gunicorn, PORT=str(port))


def _start_worker() -> "subprocess.Popen[str]":
    return _start_process(
        Path(settings.DATA_DIR) / "worker.log", "-m", "orchestrator", "manage", "worker"
    )


def _start_process(log: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """Run Python with these ``arguments``, with its output in ``log``."""
    with log.open("w") as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=settings.BASE_DIR,
            env=os.environ | environment,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )


def _wait_until_up(port: int, web: "subprocess.Popen[str]", stopping: threading.Event) -> None:
    while web.poll() is None and not stopping.is_set():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except OSError:
            stopping.wait(0.1)
    if not stopping.is_set():
        raise CommandError(_explain_with_log("The web server did not start"))


def _log() -> Path:
    """The web server's log, one JSON object per line."""
    return Path(settings.DATA_DIR) / "web.log"


def _explain_with_log(what: str) -> str:
    return "\n".join([f"{what}:", *_log().read_text(errors="replace").splitlines()[-12:]])


def _stop(child: "subprocess.Popen[str]") -> None:
    child.terminate()
    try:
        child.wait(timeout=15)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _relative(path: str | Path) -> str:
    """``path`` as it is written from the present folder, if it is inside."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)
