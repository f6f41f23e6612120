"""/health and /status: whether the database answers, and whether the process does."""

from typing import Any

from django.db import DatabaseError, OperationalError, connection
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orchestrator import __version__
from orchestrator.web.circuit_breaker import availability
from orchestrator.web.problems import RETRY_AFTER_SECONDS


class HealthSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["ok", "unavailable"])
    version = serializers.CharField()
    database = serializers.ChoiceField(["ok", "unavailable", "not asked"])


class Health(APIView):
    """200 if the database answers, else 503."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(responses={200: HealthSerializer, 503: HealthSerializer})
    def get(self, request: Request) -> Response:
        try:
            if availability.away:
                raise OperationalError
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except DatabaseError as error:
            availability.suspect(error)
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return Response(_report("unavailable", "unavailable"), status=503, headers=retry)
        return Response(_report("ok", "ok"))


class Status(APIView):
    """200 as long as the process answers, whatever the database does."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(responses=HealthSerializer)
    def get(self, request: Request) -> Response:
        return Response(_report("ok", "not asked"))


def _report(status: str, database: str) -> dict[str, str]:
    return {"status": status, "version": __version__, "database": database}
