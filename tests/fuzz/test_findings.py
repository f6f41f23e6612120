"""What fuzzing found, each as the smallest request that shows it."""

import base64
import json
from collections.abc import Callable

import pytest

from sessions_app.models import Agent
from tests.client import Api

NOBODY = "00000000-0000-0000-0000-000000000000"
LISTS = {
    "/sessions": ("state", "created_after", "created_before"),
    "/tasks": ("status", "session_id", "trace_id"),
    "/approvals": ("status", "task_id"),
    "/audit/events": ("subject", "trace_id", "from", "to"),
}


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize("moment", ["2026-01-01T00:00:00+16:00", "2026-01-01T00:00:00-23:59"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/sessions", "created_after"),
        ("/sessions", "created_before"),
        ("/audit/events", "from"),
        ("/audit/events", "to"),
    ],
)
def test_a_time_in_an_offset_that_postgresql_does_not_know_is_answered(
    api: Callable[..., Api], bot: Agent, path: str, name: str, moment: str
) -> None:
    assert api(bot).get(path, **{name: moment}).status_code in (200, 400)


@pytest.mark.parametrize(
    "forged",
    [
        json.dumps(["2026-01-01T00:00:00+16:00", NOBODY]),
        json.dumps(["2026-01-01T00:00:00", NOBODY]),
        json.dumps(["2026-01-01", NOBODY]),
        "[" * 2_500,
    ],
    ids=["offset", "no offset", "no time", "nested"],
)
def test_a_forged_cursor_is_refused(api: Callable[..., Api], bot: Agent, forged: str) -> None:
    response = api(bot).get("/sessions", cursor=cursor(forged))
    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == "cursor"


@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path, names in LISTS.items() for name in names]
)
def test_an_empty_value_does_not_widen_a_list(
    api: Callable[..., Api], bot: Agent, path: str, name: str
) -> None:
    response = api(bot).get(path, **{name: ""})
    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == name


def test_a_page_that_is_none_is_refused_beside_a_cursor_too(
    api: Callable[..., Api], bot: Agent
) -> None:
    assert api(bot).get("/sessions", cursor="", page="-1").status_code == 400


@pytest.mark.parametrize("path", ["/health", "/status"])
def test_a_malformed_trace_id_is_refused_as_the_schema_says(
    api: Callable[..., Api], path: str
) -> None:
    assert api().get(path, headers={"X-Trace-Id": "mine"}).status_code == 400
