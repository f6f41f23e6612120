"""The wheel: everything that a checkout serves is inside, and it runs from an empty folder."""

import subprocess
import sys
import venv
import zipfile

import httpx
import pytest

from tests.clusters import copy_cluster
from tests.serving import free_port, log_in
from tests.trial import ROOT, Trial, newcomers_environment

pytestmark = pytest.mark.pure

PACKAGES = ("orchestrator", "approvals_app", "sessions_app", "audit_app")
BUNDLED = ("templates", "examples/agent.py", "examples/payloads", "examples/policies.yaml")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "uv", "build", "--wheel", "-q", "-o", folder, ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory):
    """A folder of programs: the wheel and the locked requirements, nothing of the checkout."""
    place = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(place, symlinks=True)
    install = (sys.executable, "-m", "uv", "pip", "install", "-q", "--python", place / "bin/python")
    run(*install, "--require-hashes", "-r", ROOT / "requirements.txt")
    run(*install, "--no-deps", wheel)
    return place / "bin"


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)),
        env=newcomers_environment(),
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_what_the_checkout_serves(wheel):
    listed = run("git", "ls-files", "-co", "--exclude-standard", *PACKAGES, *BUNDLED, cwd=ROOT)
    wanted = {
        f"orchestrator/bundled/{name}" if name.startswith(("templates/", "examples/")) else name
        for name in listed.splitlines()
        if (ROOT / name).exists()
    }
    with zipfile.ZipFile(wheel) as opened:
        found = set(opened.namelist())
    assert {name for name in found if ".dist-info/" not in name} == wanted


def test_from_an_empty_folder_to_an_approved_task(programs, tmp_path):
    data, empty = tmp_path / "data", tmp_path / "empty"
    empty.mkdir()
    copy_cluster(data / "postgres")
    trial = Trial(data, free_port(), (str(programs / "orchestrator"), "run"), empty)
    password = trial.says(r"as\s+alice\s+with the password\s+(\S+)")[1]
    key = trial.says(r"Key\s+(ork_\S+)")[1]
    trial.says(r"agent │ waiting for finance until")
    with (
        httpx.Client(base_url=trial.url, headers={"Authorization": f"Bearer {key}"}) as agent,
        httpx.Client(base_url=trial.url, follow_redirects=True) as alice,
    ):
        [task] = agent.get("/tasks").json()["tasks"]
        [approval] = task["approvals"]
        log_in(alice, "alice", password)
        page = alice.get(f"/admin/approvals_app/approval/{approval['approval_id']}/change/")
        assert page.status_code == 200
        answer = alice.post(
            f"/approvals/{approval['approval_id']}/approve",
            json={"payload_digest": task["payload_digest"]},
            headers={"X-CSRFToken": alice.cookies["csrftoken"]},
        )
        assert answer.status_code == 200, answer.text
    trial.says(r"agent │ approved by alice")
    assert trial.interrupt() == 0
    assert not list(empty.iterdir()), "data go where XDG or DATA_DIR says"


def test_the_script_is_manage_py_too(programs, tmp_path):
    program = programs / "orchestrator"
    assert "expire_approvals" in run(program, "manage", "help", "--commands", cwd=tmp_path)
    assert run(program, "--version", cwd=tmp_path).strip()
    unknown = subprocess.run([program, "frob"], capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("There is no command 'frob'.\nusage: orchestrator run")
