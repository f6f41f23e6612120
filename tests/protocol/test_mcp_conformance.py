"""The official conformance runner of MCP judges our HTTP layer and our Tasks extension."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.serving import ROOT, client_of, free_port, gunicorn, on_the_tests_database

HERE = Path(__file__).parent / "conformance"
TOTAL = re.compile(r"^Total: (\d+) passed, (\d+) failed", re.MULTILINE)

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None or shutil.which("node") is None,
    reason="the conformance runner needs node and npm",
)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    """The command that runs it, as installed from the lock file."""
    place = tmp_path_factory.mktemp("runner")
    for name in ("package.json", "package-lock.json", "node20.mjs"):
        shutil.copy(HERE / name, place)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install the conformance runner: {done.stderr[-300:]}")
    program = place / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    return ["node", "--import", str(place / "node20.mjs"), str(program), "server"]


@pytest.fixture
def judge(runner, bot, tmp_path):
    """``judge(*options)``: the runner's exit code and what it says."""
    port = free_port()
    env = on_the_tests_database(port, DATA_DIR=str(tmp_path), ORCHESTRATOR_KEY=bot.key)

    def run(*options: str) -> Any:
        command = [*runner, "--url", f"http://127.0.0.1:{port}/mcp", *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    with gunicorn(tmp_path / "log", env, "tests.protocol.conformance.app"):
        with client_of(port) as client:
            assert client.get("/status").status_code == 200
        yield run


def score(said: str) -> str:
    [(passed, failed)] = TOTAL.findall(said)
    return f"{passed} of {int(passed) + int(failed)}"


def test_everything_that_2026_07_28_and_the_tasks_extension_ask_for(judge):
    done = judge("--requirements", "2026-07-28")
    assert (done.returncode, "✗" in done.stdout) == (0, False), done.stdout
    assert score(done.stdout) in (ROOT / "docs/mcp.md").read_text()


def test_2025_11_25_but_for_what_needs_sessions(judge):
    baseline = str(HERE / "baseline-2025-11-25.yml")
    options = ("--suite", "all", "--spec-version", "2025-11-25")
    done = judge(*options, "--expected-failures", baseline)
    assert done.returncode == 0, done.stdout
    assert score(done.stdout) in (ROOT / "docs/mcp.md").read_text()
