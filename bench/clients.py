"""Load over HTTP with ``wrk``: a client in C that leaves most of the CPU to the server."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpx2

from bench.errors import BenchError
from bench.harness import Run

CONNECTIONS = 4
"""The default; a fleet of agents has many more."""

SCRIPT = Path(__file__).parent / "wrk.lua"
WRK_MISSING = (
    "wrk is missing, the client that sends the load; on Debian and Ubuntu: apt install wrk"
)


@cache
def _http_client() -> httpx2.Client:
    # One client for all requests: setting up its TLS context takes longer than a request.
    return httpx2.Client(timeout=60)


@dataclass(frozen=True, slots=True)
class Request:
    """A request template: ``{n}`` in any part becomes the request's number in twelve digits, and
    ``{line}`` in the path becomes the next line of the file ``lines``."""

    method: str
    path: str
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    lines: Path | None = None

    def send(self, url: str, number: int) -> httpx2.Response:
        """Send it once and return the response. Raises BenchError unless it succeeds."""

        def fill_number(text: str) -> str:
            return text.replace("{n}", f"{number:012}")

        headers = {name: fill_number(value) for name, value in self.headers.items()}
        path, body = fill_number(self.path), fill_number(self.body)
        if self.lines is not None:
            path = path.replace("{line}", self.lines.read_text().splitlines()[-1])
        response = _http_client().request(self.method, url + path, content=body, headers=headers)
        if not response.is_success:
            text = response.text[:500]
            raise BenchError(f"{self.method} {path} answered {response.status_code}: {text}")
        return response


@dataclass(frozen=True, slots=True)
class Wrk:
    """One request, sent repeatedly over ``connections`` keep-alive connections."""

    url: str
    request: Request
    connections: int = CONNECTIONS

    def run(self, seconds: float, first: int) -> Run:
        headers = [f"{name}: {value}" for name, value in self.request.headers.items()]
        arguments = [
            self.request.method,
            self.request.path,
            self.request.body,
            str(first),
            *headers,
        ]
        # wrk takes whole seconds.
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{max(1, round(seconds))}s"]
        command += ["--timeout", "30s"]
        lines = str(self.request.lines or "")
        output, cpu = run_timed(
            [*command, "-s", str(SCRIPT), self.url, "--", *arguments], BENCH_LINES=lines
        )
        summary = json.loads(output.rstrip().rpartition("\n")[2])
        if not summary["done"]:
            raise BenchError(f"{self.request.method} {self.request.path}: none got through.")
        if summary["refused"] or summary["broken"]:
            self.request.send(
                self.url, first
            )  # raises with the response's text if it fails each time
            raise BenchError(
                f"Of {summary['done']} requests {self.request.method} {self.request.path}, "
                f"{summary['refused']} were refused and {summary['broken']} broke off."
            )
        per_ms = 1000
        seconds = summary["microseconds"] / 1e6
        return Run(summary["done"], seconds, summary["p50"] / per_ms, summary["p99"] / per_ms, cpu)


def run_timed(command: list[str], **environment: str) -> tuple[str, float]:
    """Run ``command``; return its output and the CPU seconds it used. Raises BenchError."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command, stdout=out, stderr=err, env={**os.environ, **environment}
        )
        # wait4 returns the CPU time of this one child, unlike getrusage(RUSAGE_CHILDREN).
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            output = (err.read().strip() or out.read().strip())[-1000:]
            raise BenchError(f"{Path(command[0]).name} ended with {process.returncode}: {output}")
        return out.read(), used.ru_utime + used.ru_stime


def require_wrk() -> None:
    """Raises BenchError where ``wrk`` is not installed."""
    if shutil.which("wrk") is None:
        raise BenchError(WRK_MISSING)
