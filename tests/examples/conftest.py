"""The adapters' own virtual environment, and their programs in it, against a real server.

State that outlives the run: the virtual environment, which is made again when its requirements
change. State of a whole module: the server.
"""

import fcntl
import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sessions_app.models import Task
from tests.factories import AgentFactory
from tests.live.conftest import serving

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "examples" / "requirements.txt"
PLACE = ROOT / ".venv-examples"
PYTHON = PLACE / "bin" / "python"
NOT_TO_BE_HAD = ("No matching distribution found", "Retrying (", "ReadTimeoutError")


@pytest.fixture(scope="session")
def interpreter() -> Path:
    """A Python that has what examples/requirements.txt names; made anew when that has changed."""
    made_of = PLACE / "made-of"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    with LOCK.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (PYTHON.exists() and made_of.exists() and made_of.read_text() == wanted):
            _make()
            made_of.write_text(wanted)
    return PYTHON


def _make() -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", PLACE], check=True)
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--retries", "1"]
    given = [*pip, "--require-hashes", "-r", LOCK]
    installed = subprocess.run(given, capture_output=True, text=True, check=False)
    if any(sign in installed.stderr for sign in NOT_TO_BE_HAD):
        last = installed.stderr.strip().splitlines()[-1]
        pytest.skip(f"The packages that the examples need can't be had here: {last}")
    assert installed.returncode == 0, installed.stderr


@pytest.fixture(scope="module")
def server(django_db_setup, django_db_blocker, tmp_path_factory):
    place = tmp_path_factory.mktemp("server")
    with django_db_blocker.unblock(), serving(place) as server:
        yield server


class Program:
    """A running example."""

    def __init__(self, process: "subprocess.Popen[str]", server) -> None:
        self._process = process
        self._server = server

    def asks(self) -> Task:
        """The one undecided task, once the program waits for it."""
        undecided = Task.objects.filter(status=Task.Status.AWAITING_APPROVAL)
        while self._server.count_held() != 1 or not undecided.exists():
            assert self._process.poll() is None, self._process.communicate()
        return undecided.get()

    def ends(self) -> tuple[int, list[str]]:
        """Its exit status and its lines; it complains only where an error ended it."""
        lines, complaints = self._process.communicate(timeout=60)
        status = self._process.returncode
        assert bool(complaints) == (status == 1), complaints
        return status, lines.splitlines()


@pytest.fixture
def start(interpreter, server) -> Iterator[Callable[..., Program]]:
    """``start(example, *arguments)``, as an agent that asks finance and executes for it."""
    clerk = AgentFactory(name="clerk", roles=["finance"])
    environment = {
        "ORCHESTRATOR_URL": f"http://127.0.0.1:{server.port}",
        "ORCHESTRATOR_KEY": clerk.key,
        "PYTHONPATH": f"{ROOT / 'clients' / 'python'}:{ROOT / 'examples'}",
    }
    running = []

    def start(example: str | Path, *arguments: str) -> Program:
        # A path is absolute: a program of the tests' own.
        process = subprocess.Popen(
            [interpreter, ROOT / "examples" / f"{example}.py", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return Program(process, server)

    yield start
    for process in running:
        process.kill()
        process.communicate()
