"""A trial of a newcomer's: what `make run` and `orchestrator run` start."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = ("DATABASE_URL", "DJANGO_SETTINGS_MODULE", "PYTHONUNBUFFERED", "TRIAL")
"""What a newcomer's environment has not; so the settings are the real ones, hashers included."""


def newcomers_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in OURS}


class Trial:
    """A running trial, and what it has said so far."""

    def __init__(
        self,
        data: Path,
        port: int,
        command: Sequence[str] = (sys.executable, "manage.py", "dev"),
        folder: Path = ROOT,
    ) -> None:
        self.url = f"http://localhost:{port}"
        self.lines: list[str] = []
        self._said = threading.Condition()
        self.process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=folder,
            env=newcomers_environment() | {"TRIAL": "on", "DATA_DIR": str(data)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            with self._said:
                self.lines.append(line.rstrip())
                self._said.notify_all()
        with self._said:
            self._said.notify_all()

    def says(self, pattern: str) -> re.Match[str]:
        """Wait until a line matches."""

        def find_match() -> re.Match[str] | None:
            return next((m for line in self.lines if (m := re.search(pattern, line))), None)

        with self._said:
            ended = lambda: self.process.poll() is not None  # noqa: E731
            assert self._said.wait_for(lambda: find_match() or ended(), timeout=90), self.lines
            match = find_match()
        assert match, "\n".join(self.lines)
        return match

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.wait_for_exit()

    def wait_for_exit(self) -> int:
        status = self.process.wait(timeout=60)
        self._listener.join()
        self.process.stdout.close()
        return status
