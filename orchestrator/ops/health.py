"""/health and /status: whether the database answers and writes, and whether the process does."""

import threading
import time
from typing import Any

import structlog
from django.db import DatabaseError, connection, transaction
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orchestrator import __version__
from orchestrator.web.circuit_breaker import availability, is_pool_full
from orchestrator.web.problems import RETRY_AFTER_SECONDS

log = structlog.get_logger("orchestrator.health")


WRITE_A_ROW = """
    INSERT INTO rate_limits AS known (caller, "window", used) VALUES ('health', 0, 1)
    ON CONFLICT (caller) DO UPDATE SET used = known.used + 1
"""
WRITE_A_FILE = """
    SELECT max(filler) FROM (
        SELECT repeat('x', 200) || n AS filler FROM generate_series(1, 1000) n ORDER BY 1) sorted
"""
"""Sorted within 64 kB, so that it needs a file: a row may find room on a disk that is full."""

CHECK_EVERY = 1.0
"""Seconds for which a process trusts that writes work: anyone may ask, as often as they like."""


class HealthSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["ok", "unavailable"])
    version = serializers.CharField()
    database = serializers.ChoiceField(
        ["ok", "unavailable", "overloaded", "writes fail", "not asked"]
    )


class WriteCheck:
    """Whether PostgreSQL writes. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worked_at = float("-inf")

    def run(self) -> None:
        """Raises DatabaseError where a write fails: on a full disk, or on a standby."""
        with self._lock:
            if time.monotonic() - self._worked_at < CHECK_EVERY:
                return
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(WRITE_A_ROW)
                cursor.execute("SET LOCAL work_mem = '64kB'")
                cursor.execute(WRITE_A_FILE)
            self._worked_at = time.monotonic()

    def forget(self) -> None:
        """Check again at the next request."""
        self._worked_at = float("-inf")


write_check = WriteCheck()


class Health(APIView):
    """200 if the database answers and writes, else 503."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(responses={200: HealthSerializer, 503: HealthSerializer})
    def get(self, request: Request) -> Response:
        database = _look_at_database()
        if database == "ok":
            return Response(_report("ok", database))
        retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return Response(_report("unavailable", database), status=503, headers=retry)


def _look_at_database() -> str:
    try:
        if availability.away:
            return "unavailable"
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        if is_pool_full(error):
            return "overloaded"
        availability.suspect(error)
        return "unavailable"
    try:
        write_check.run()
    except DatabaseError as error:
        log.error("writes fail", reason=str(error).strip().splitlines()[0])
        return "writes fail"
    return "ok"


class Status(APIView):
    """200 as long as the process answers, whatever the database does."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(responses=HealthSerializer)
    def get(self, request: Request) -> Response:
        return Response(_report("ok", "not asked"))


def _report(status: str, database: str) -> dict[str, str]:
    return {"status": status, "version": __version__, "database": database}
