"""PostgreSQL servers of a test's own, which it may stop, kill and sever.

Each is a copy of a data directory that is made, with both roles, once a run.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
from django.conf import settings

from orchestrator.ops import embedded_postgres
from orchestrator.ops.database_roles import Login, create_roles
from tests.database import hold_lock

ROOT = Path(__file__).parents[1]


def start_cluster(place: Path, *, migrated: bool = True) -> embedded_postgres.Server:
    """A durable server in ``place``, whose database is empty unless it is ``migrated``."""
    copy_cluster(place, migrated=migrated)
    return embedded_postgres.start(place)


def copy_cluster(place: Path, *, migrated: bool = True) -> None:
    """What ``start_cluster`` starts."""
    shutil.copytree(_template(migrated=migrated), place)


def _template(*, migrated: bool) -> Path:
    empty, full = (Path(settings.DATA_DIR) / name for name in ("cluster", "migrated-cluster"))
    with hold_lock("cluster"):
        if not empty.exists():
            _make(empty)
        if migrated and not full.exists():
            _migrate(empty, full)
    return full if migrated else empty


def _make(place: Path) -> None:
    unfinished = place.with_suffix(".unfinished")
    server = embedded_postgres.start(unfinished, durable=False)
    owner, application = Login.of(server.owner_url), Login.of(server.application_url)
    with psycopg.connect(server.url) as admin:
        create_roles(admin, owner=owner, application=application)
    _finish(unfinished, place)


def _migrate(empty: Path, place: Path) -> None:
    unfinished = place.with_suffix(".unfinished")
    shutil.copytree(empty, unfinished)
    server = embedded_postgres.start(unfinished, durable=False)
    given = {"DATABASE_URL": server.application_url, "DATABASE_OWNER_URL": server.owner_url}
    migrate = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(migrate, cwd=ROOT, env=os.environ | given, check=True)
    _finish(unfinished, place)


def _finish(unfinished: Path, place: Path) -> None:
    embedded_postgres.stop(unfinished)
    (unfinished / "port").unlink()  # copies that start at the same moment would all want it
    unfinished.rename(place)
