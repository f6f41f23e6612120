"""What deploy/ holds: each file is parsed, each command of it is run or known, as far as no engine
of containers and no cluster is needed."""

import configparser
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from orchestrator.ops import embedded_postgres
from tests.clusters import start_cluster
from tests.serving import client_of, free_port
from tests.trial import ROOT, newcomers_environment

pytestmark = pytest.mark.pure

DEPLOY = ROOT / "deploy"
SCRIPT = "orchestrator"
RUNS = {"serve", "manage worker", "manage migrate", "manage database_roles", "manage verify_audit"}
"""The commands that this file, test_operating.py or the commands' own tests run."""


def known_settings() -> set[str]:
    return set(
        re.findall(r"\"([A-Z][A-Z0-9_]+)\"", (ROOT / "orchestrator/settings.py").read_text())
    )


class Instructions:
    """A Dockerfile's instructions by stage, continued lines joined, ARG's defaults filled in."""

    def __init__(self, text: str) -> None:
        lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
        words = (line.split(maxsplit=1) for line in lines.splitlines() if line.strip())
        self.stages: list[list[tuple[str, str]]] = []
        for name, rest in words:
            if name == "FROM":
                self.stages.append([])
            elif self.stages:
                self.stages[-1].append((name, rest))

    def all(self, stage: int, name: str) -> list[str]:
        return [rest for given, rest in self.stages[stage] if given == name]

    def one(self, stage: int, name: str) -> str:
        [found] = self.all(stage, name)
        return found


@pytest.fixture
def place():
    """A short path: PostgreSQL's socket is below it."""
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        yield Path(folder)


def test_the_images_stages_build_and_serve_in_a_plain_folder(place):
    """The Dockerfile's own instructions, with its paths below a folder: what they build serves, and
    writes nothing but temporary files."""
    dockerfile = Instructions((DEPLOY / "container/Dockerfile").read_text())

    def translate(text: str) -> str:
        return text.replace("/opt/orchestrator", str(place / "opt")).replace(
            "python -", f"{sys.executable} -"
        )

    copied = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    source = make_folder(place / "src")
    subprocess.run(["cp", "-r", *copied, source], cwd=ROOT, check=True)
    environment = newcomers_environment() | {"PYTHONDONTWRITEBYTECODE": ""}
    for command in dockerfile.all(0, "RUN"):
        command = translate(command)
        done = subprocess.run(
            ["sh", "-euc", command],
            cwd=source,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    cluster = make_folder(place / "database") / "postgres"
    server = start_cluster(cluster)
    temporary = make_folder(place / "tmp")
    assert int(dockerfile.one(1, "USER").split(":")[0]), "not root"
    before = list_files(place / "opt")
    port = free_port()
    stated = dict(word.split("=", 1) for word in shlex.split(translate(dockerfile.one(1, "ENV"))))
    command = json.loads(dockerfile.one(1, "ENTRYPOINT")) + json.loads(dockerfile.one(1, "CMD"))
    path = stated["PATH"].replace("$PATH", os.environ["PATH"])
    process = subprocess.Popen(
        [place / "opt/bin" / command[0], *command[1:]],
        cwd="/",
        env=stated
        | {
            "PATH": path,
            "BIND": f"127.0.0.1:{port}",
            "TMPDIR": str(temporary),
            "DATABASE_URL": server.application_url,
            "SECRET_KEY": "s" * 64,
            "ALLOWED_HOSTS": "orchestrator.example",
        },
    )
    try:
        with client_of(port, headers={"Host": f"127.0.0.1:{port}"}) as web:
            # As a kubelet asks: by the pod's address, which is no host that users may name.
            assert web.get("/status", timeout=60).status_code == 200
            answer = web.get("/health", timeout=60)
            assert (answer.status_code, answer.json()["database"]) == (200, "ok")
            named = {"Host": "orchestrator.example", "X-Forwarded-Proto": "https"}
            page = web.get("/admin/login/", headers=named)
            assert page.status_code == 200
            style = re.search(r"/static/[^\"]+\.css", page.text)[0]
            assert web.get(style, headers=named).status_code == 200, "collected into the image"
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=60)
        embedded_postgres.stop(cluster)
    assert status == 0
    assert list_files(place / "opt") == before


def list_files(folder: Path) -> dict[Path, int]:
    """Every file and folder below, with the time of its last change in nanoseconds."""
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def make_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def test_compose_starts_known_commands_in_order():
    compose = yaml.safe_load((DEPLOY / "container/compose.yaml").read_text())
    services = compose["services"]
    ours = {name: each for name, each in services.items() if each["image"] == "orchestrator"}
    assert set(ours) == {"roles", "migrate", "web", "worker"}
    for service in ours.values():
        assert " ".join(service.get("command", ["serve"])) in RUNS
        assert set(service["environment"]) <= known_settings()
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert all(name in services for name in service["depends_on"])
        build = service["build"]
        context = (DEPLOY / "container" / build["context"]).resolve()
        assert (context / build["dockerfile"]).is_file()
    assert "DATABASE_OWNER_URL" not in ours["web"]["environment"]
    assert "DATABASE_ADMIN_URL" not in ours["migrate"]["environment"]


@pytest.mark.parametrize("file", sorted((DEPLOY / "kubernetes").glob("*.yaml")), ids=str)
def test_kubernetes_manifests_lock_their_containers(file):
    documents = list(yaml.safe_load_all(file.read_text()))
    assert all({"apiVersion", "kind", "metadata"} <= set(each) for each in documents)
    labels = [each["metadata"].get("labels", {}) for each in documents]
    for document in documents:
        if document["kind"] in ("Deployment", "Job"):
            pod = document["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"]
            mounted = {volume["name"] for volume in pod["volumes"]}
            for container in pod["containers"]:
                assert " ".join(container["args"]) in RUNS
                assert {each["name"] for each in container.get("env", [])} <= known_settings() | {
                    "WEB_CONCURRENCY"
                }
                assert container["securityContext"]["readOnlyRootFilesystem"]
                assert {mount["name"] for mount in container["volumeMounts"]} <= mounted
        if document["kind"] == "Deployment":
            template = document["spec"]["template"]["metadata"]["labels"]
            assert document["spec"]["selector"]["matchLabels"] == template
        if document["kind"] in ("Service", "PodDisruptionBudget"):
            selector = document["spec"]["selector"]
            assert selector.get("matchLabels", selector) in labels


@pytest.mark.parametrize("file", sorted((DEPLOY / "systemd").iterdir()), ids=str)
def test_units_run_known_commands(file):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(file)
    if file.suffix == ".timer":
        assert (file.with_suffix(".service")).is_file()
        assert unit["Timer"]["OnCalendar"]
        return
    program, _, command = unit["Service"]["ExecStart"].partition(" ")
    assert Path(program).name == SCRIPT
    assert command in RUNS
    assert unit["Service"]["User"] != "root"


def test_systemd_reads_the_units(tmp_path):
    """systemd-analyze, where there is one; the program of the units is not installed here."""
    units = []
    for file in sorted((DEPLOY / "systemd").iterdir()):
        copy = tmp_path / file.name
        copy.write_text(file.read_text().replace("/opt/orchestrator/bin/orchestrator", "/bin/true"))
        units.append(copy)
    try:
        done = subprocess.run(
            ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("systemd is not installed")
    assert (done.returncode, done.stderr) == (0, "")
