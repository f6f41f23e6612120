"""The package as it is installed, and what its README shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sessions_app.models import Task
from tests.clients.conftest import decide

PACKAGE = Path(__file__).parents[2] / "clients" / "python"
[SHOWN] = re.findall(r"^```python\n(.*?)^```", (PACKAGE / "README.md").read_text(), re.M | re.S)


def test_it_is_installed_with_its_types(tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    built = subprocess.run(
        [*pip, "--target", str(tmp_path), str(PACKAGE)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "hatchling" in built.stderr:
        pytest.skip("hatchling, which builds the package, can't be had here.")
    assert built.returncode == 0, built.stderr
    installed = {path.name for path in (tmp_path / "orchestrator_client").glob("*.*")}
    assert installed == {path.name for path in (PACKAGE / "orchestrator_client").glob("*.*")}
    assert "py.typed" in installed


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ({"verdict": "approve"}, "{'paid': '42.50'}\n"),
        (
            {"verdict": "reject", "notes": "Twice the price."},
            "rejected: alice: Twice the price.\n",
        ),
    ],
)
def test_what_the_readme_shows_is_what_happens(server, aside, clerk, alice, verdict, said):
    run = aside(
        subprocess.run,
        [sys.executable, "-c", SHOWN],
        env={
            "PYTHONPATH": str(PACKAGE),
            "ORCHESTRATOR_URL": f"http://127.0.0.1:{server.port}",
            "ORCHESTRATOR_KEY": clerk.key,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    server.holds(1)
    decide(Task.objects.get().pk, alice, **verdict)
    done = run.result(60)
    assert (done.stdout, done.stderr) == (said, "")
