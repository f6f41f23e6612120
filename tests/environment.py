"""The world that the tests run in: loaded by pytest before Django reads its settings.

DATABASE_URL is taken as it is; without it, an embedded PostgreSQL is started for this run and
stopped after it. Workers of xdist inherit what the first process set up.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

_started: list[Path] = []


def _prepare() -> None:
    os.environ["TRIAL"] = "on"
    os.environ["LOG_FORMAT"] = "json"
    os.environ["EMAIL_URL"] = "dummymail://"  # Django's own tests' outbox stands in for it
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    place = Path(tempfile.mkdtemp(prefix="orchestrator-tests-"))
    _started.append(place)
    os.environ["DATA_DIR"] = str(place)
    if not os.environ.get("DATABASE_URL"):
        from orchestrator.ops import embedded_postgres

        server = embedded_postgres.start(place / "postgres", durable=False)
        os.environ["DATABASE_URL"] = server.url


# When this module is imported: pytest-django reads the settings before any hook of ours runs.
_prepare()


def pytest_unconfigure(config: pytest.Config) -> None:
    for place in _started:
        if (place / "postgres").exists():
            from orchestrator.ops import embedded_postgres

            embedded_postgres.stop(place / "postgres")
        elif (place / "template").exists():
            from tests.database import drop_template

            drop_template(os.environ["DATABASE_URL"])
        shutil.rmtree(place, ignore_errors=True)
    _started.clear()
