"""The API as callers see it; every answer is held against the published schema."""

import functools
import json
import re
import threading
from typing import Any

import jsonschema
from django.http import HttpResponse
from django.test import Client
from django.urls import resolve
from drf_spectacular.generators import SchemaGenerator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_drawing = threading.Lock()


def schema() -> Any:
    """The OpenAPI document, as /schema gives it; drawn once, whichever thread asks first."""
    with _drawing:
        return _schema()


@functools.cache
def _schema() -> Any:
    document = SchemaGenerator().get_schema(request=None, public=True)
    return json.loads(json.dumps(document, default=str))


class Api:
    """One caller: an agent with its key, a signed-in person, or nobody."""

    def __init__(self, agent: Any = None, user: Any = None, **headers: str) -> None:
        self.client = Client(raise_request_exception=False, enforce_csrf_checks=False)
        self.headers = dict(headers)
        if agent is not None:
            self.headers["Authorization"] = f"Bearer {agent.key}"
        if user is not None:
            self.client.force_login(user)

    def get(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> HttpResponse:
        return self.send("GET", path, query=query, headers=headers)

    def post(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> HttpResponse:
        return self.send("POST", path, {} if body is None else body, headers=headers)

    def put(self, path: str, body: Any, headers: dict[str, str] | None = None) -> HttpResponse:
        return self.send("PUT", path, body, headers=headers)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> HttpResponse:
        """Send ``body`` (bytes as they are, anything else as JSON) and check the answer."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = self.client.generic(
            method,
            path,
            raw if body is not None else b"",
            content_type,
            query_params=query,
            headers=self.headers | (headers or {}),
        )
        check(method, path, response)
        return response


def check(method: str, path: str, response: HttpResponse) -> None:
    """Fail unless the schema says that this path may answer so."""
    assert response.status_code < 500 or response.status_code == 503, response.content
    assert response.headers["X-Trace-Id"]
    operation = _operation(method, path)
    if operation is None:
        return
    answers = operation["responses"]
    assert str(response.status_code) in answers, f"{response.status_code} is not in the schema"
    content = answers[str(response.status_code)].get("content", {})
    if not content:
        assert response.content == b""
        return
    kind = response.headers["Content-Type"].partition(";")[0]
    assert kind in content, f"{kind} is not in the schema of {response.status_code}"
    if not kind.endswith("json"):
        return
    document = schema()
    resource = Resource.from_contents(document, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:api", resource)
    absolute = json.loads(
        json.dumps(content[kind]["schema"]).replace('"#/components', '"urn:api#/components')
    )
    jsonschema.Draft202012Validator(
        absolute,
        registry=registry,
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
    ).validate(json.loads(response.content))


def _operation(method: str, path: str) -> Any:
    try:
        route = resolve(path).route
    except Exception:
        return None
    template = "/" + re.sub(r"<uuid:(\w+)>", r"{\1}", route).replace("{pk}", "{id}")
    return schema()["paths"].get(template, {}).get(method.lower())
