"""What browsers are told of every answer, and what nobody is told."""

import pytest

from tests.client import Api
from tests.factories import TaskFactory, the_approval

PAGES = ["/admin/login/", "/docs", "/admin/nothing/"]
DATA = ["/health", "/status", "/schema", "/tasks", "/nothing", "/metrics"]


def policy(answer):
    directives = answer.headers["Content-Security-Policy"].split("; ")
    return {name: sources.split() for name, _, sources in (d.partition(" ") for d in directives)}


@pytest.mark.parametrize("path", PAGES + DATA)
def test_every_answer_is_framed_by_nobody_and_says_where_it_came_from_to_nobody(path):
    answer = Api().get(path)
    assert policy(answer)["frame-ancestors"] == ["'none'"]
    assert policy(answer)["default-src"] == ["'none'"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] in ("same-origin", "no-referrer")
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Server" not in answer.headers
    assert "X-Powered-By" not in answer.headers


@pytest.mark.parametrize("path", PAGES)
def test_nothing_inline_runs_on_a_page(path):
    told = policy(Api().get(path))
    for sources in told.values():
        assert "'unsafe-inline'" not in sources
        assert "*" not in sources
    assert told["script-src"] == ["'self'", "'unsafe-eval'"]
    assert told["base-uri"] == ["'none'"]


def test_the_decision_page_has_the_same_policy(alice, bot, client):
    client.force_login(alice)
    approval = the_approval(TaskFactory(agent=bot))
    page = client.get(f"/admin/approvals_app/approval/{approval.pk}/change/")
    assert page.status_code == 200
    assert "'unsafe-inline'" not in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", ["/tasks", "/status", "/tasks/route", "/admin/login/"])
def test_no_other_origin_may_read_an_answer(bot, method, path):
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    answer = Api(bot).send(method, path, headers=headers)
    assert not [name for name in answer.headers if name.startswith("Access-Control-")]


def test_cookies_are_for_this_site_and_not_for_scripts(alice, client):
    client.get("/admin/login/")
    client.post("/admin/login/", {"username": "alice", "password": "alice"})
    cookie = client.cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    token = client.cookies["csrftoken"]
    assert (token["httponly"], token["samesite"]) == (True, "Lax")


def test_whom_to_tell_of_a_vulnerability(settings):
    assert Api().get("/.well-known/security.txt").status_code == 404
    settings.SECURITY_CONTACT = "mailto:security@orchestrator.example"
    answer = Api().get("/.well-known/security.txt")
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = answer.content.decode().splitlines()
    assert lines[0] == "Contact: mailto:security@orchestrator.example"
    assert lines[1].startswith("Expires: ")


def test_the_trace_goes_on_from_the_answer(bot):
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = Api(bot).get("/tasks", headers={"traceparent": given})
    version, trace, span, flags = answer.headers["traceparent"].split("-")
    assert (version, trace, len(flags)) == ("00", "0af7651916cd43dd8448eb211c80319c", 2)
    assert len(span) == 16
    assert answer.headers["X-Trace-Id"].replace("-", "") == trace
    own = Api(bot).get("/tasks")
    assert own.headers["traceparent"].split("-")[1] == own.headers["X-Trace-Id"].replace("-", "")
