"""docs/operating.md word by word, on an empty server."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from orchestrator.ops import embedded_postgres
from tests.clusters import start_cluster
from tests.serving import client_of, free_port

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operating.md").read_text()
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
IN_CI = ("python3 -m venv", ".venv/bin/pip install")
"""Every target of the Makefile runs these."""


def blocks(language: str, *, after: str, before: str) -> list[str]:
    """The lines of the blocks in ``language`` between two headings."""
    part = TEXT[TEXT.index(f"\n{after}\n") : TEXT.index(f"\n{before}\n")]
    found = (match[3] for match in BLOCK.finditer(part) if match[2] == language)
    return [line.strip() for block in found for line in block.strip().splitlines()]


@pytest.fixture
def environment(tmp_path):
    """What the document says to set, for an empty server and its superuser; nothing else."""
    place = tmp_path / "postgres"
    server = start_cluster(place, migrated=False)
    admin = psycopg.connect(server.url, autocommit=True)
    try:
        [create] = blocks("sql", after="## Install", before="### Upgrade")
        admin.execute(create.replace("orchestrator", "documented"))
        given = dict(
            line.split("=", 1) for line in blocks("ini", after="## Install", before="### Upgrade")
        )
        superuser = psycopg.conninfo.conninfo_to_dict(server.url)
        for old, new in (
            ("orchestrator_owner:", "documented_owner:"),
            ("//orchestrator:", "//documented:"),
            ("postgres:ADMIN-PASSWORD", f"{superuser['user']}:{superuser.get('password', '')}"),
            ("127.0.0.1:5432/orchestrator", f"127.0.0.1:{server.port}/documented"),
            ("AT-LEAST-50-RANDOM-CHARACTERS", "s" * 64),
            ("/var/lib/orchestrator", str(tmp_path / "data")),
        ):
            given = {name: value.replace(old, new) for name, value in given.items()}
        yield {"PATH": os.environ["PATH"], "PORT": str(free_port()), **given}
    finally:
        admin.close()
        embedded_postgres.stop(place)


def command(line: str) -> list[str]:
    """``line`` of the document, with this interpreter's programs for those of ``.venv``."""
    words = line.split()
    if words[0] == ".venv/bin/gunicorn":
        return [sys.executable, "-m", "gunicorn", *words[1:]]
    assert words[0] == ".venv/bin/python", line
    return [sys.executable, *words[1:]]


@pytest.mark.pure
def test_an_empty_server_is_installed_served_and_used_as_documented(environment, tmp_path):
    lines = blocks("sh", after="## Install", before="### Upgrade")
    services = [line for line in lines if line.endswith((" worker", "orchestrator.asgi"))]
    people = [line for line in lines if "create_reviewer" in line or "create_agent" in line]
    once = [
        line for line in lines if line not in (*services, *people) and not line.startswith(IN_CI)
    ]
    assert (len(services), len(people), len(once)) == (2, 2, 5)

    for line in once:
        run(line, environment)
    running = [start(line, environment, tmp_path / f"log{n}") for n, line in enumerate(services)]
    try:
        with client_of(int(environment["PORT"]), headers={"Host": "orchestrator.example"}) as web:
            answer = web.get("/health", timeout=60)
            assert (answer.status_code, answer.json()["database"]) == (200, "ok")
            outputs = [run(line, environment) for line in people]
            [key] = re.findall(r"^key:\s*(\S+)", outputs[1], re.MULTILINE)
            https = {"X-Forwarded-Proto": "https", "Authorization": f"Bearer {key}"}
            assert web.get("/tasks", headers=https).json()["tasks"] == []
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        ended = [process.wait(timeout=60) for process in running]
    assert all(code in (0, -signal.SIGTERM) for code in ended)

    for line in blocks("sh", after="### Upgrade", before="### Change the secret key"):
        if not line.startswith(IN_CI):
            run(line, environment)
    run(".venv/bin/python manage.py reencrypt_secrets", environment)


def run(line: str, environment: dict[str, str]) -> str:
    arguments = command(line)
    more = {}
    if "createsuperuser" in line:  # which asks a person on a terminal
        arguments.append("--no-input")
        more = {f"DJANGO_SUPERUSER_{n}": "root" for n in ("USERNAME", "PASSWORD")}
        more["DJANGO_SUPERUSER_EMAIL"] = "root@orchestrator.example"
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment | more, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


def start(line: str, environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("w") as written:
        return subprocess.Popen(
            command(line), cwd=ROOT, env=environment, stdout=written, stderr=written
        )


@pytest.mark.pure
def test_every_command_that_documents_name_exists():
    """Whatever ``manage.py NAME`` stands in a document."""
    named = set()
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        named |= set(re.findall(r"manage\.py ([a-z_]+)", path.read_text()))
    listed = subprocess.run(
        [sys.executable, "manage.py", "help", "--commands"],
        cwd=ROOT,
        env=os.environ | {"TRIAL": "on"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert named - set(listed) == set()
