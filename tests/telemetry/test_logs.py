"""A line for each request, and never a secret or a payload on it."""

import logging

from django.db import IntegrityError, connection

from tests.factories import TaskFactory, the_approval

CANARY = "canary-7f3a"
REFUND = {
    "target": "finance",
    "task": {
        "task_type": "refund_approval",
        "description": f"{CANARY} description",
        "data": {"card": f"{CANARY} payload"},
    },
    "context": {"why": f"{CANARY} context"},
}


def test_a_request_is_one_line_that_says_who_what_and_how_long(serving, lines, bot):
    trace = "7b0c8a1e-6a5d-4a53-9f0e-0d8a5d6f3c11"
    mine = {"Authorization": f"Bearer {bot.key}", "X-Trace-Id": trace}
    with serving() as client:
        client.get("/tasks?page=1", headers=mine)
        client.get("/nothing/here")
    first, second = (line for line in lines() if line["event"] == "request")
    assert (
        first.items()
        >= {
            "trace_id": trace,
            "actor": "agent:bot",
            "method": "GET",
            "route": "tasks",
            "status": 200,
            "level": "info",
        }.items()
    )
    assert first["milliseconds"] > 0
    assert (second["actor"], second["route"], second["status"]) == (None, None, 404)


def test_no_secret_and_no_payload_is_logged(serving, read_log, lines, bot, alice):
    mine = {"Authorization": f"Bearer {bot.key}", "Idempotency-Key": f"{CANARY}-key"}
    token = f"eyJhbGciOiJub25lIn0.{CANARY}.x"
    task = TaskFactory(agent=bot, description=f"{CANARY} earlier")
    approval = the_approval(task)
    with serving() as client:
        assert client.post("/tasks/route", json=REFUND, headers=mine).status_code == 202
        assert client.post("/tasks/route", json=REFUND | {"x": CANARY}, headers=mine).is_error
        assert client.post("/tasks/route", content=f"{{{CANARY}", headers=mine).is_error
        assert client.get(f"/tasks?{CANARY}=1", headers=mine).is_error
        assert client.get(f"/{CANARY}").is_error
        assert client.get("/tasks", headers={"Authorization": f"Bearer {token}"}).is_error
        assert client.get("/tasks", headers={"Authorization": f"Bearer ork_{CANARY}"}).is_error
        assert client.get("/tasks", headers={"X-Trace-Id": CANARY}).is_error
        # A person: a wrong password, the right one, a decision with notes.
        client.get("/admin/login/")
        form = {"csrfmiddlewaretoken": client.cookies["csrftoken"], "username": "alice"}
        client.post("/admin/login/", data=form | {"password": f"{CANARY} wrong"})
        signed = client.post("/admin/login/", data=form | {"password": "alice"})
        assert signed.status_code == 302
        cookie, csrf = client.cookies["sessionid"], client.cookies["csrftoken"]
        decided = client.post(
            f"/approvals/{approval.pk}/approve",
            json={"payload_digest": approval.payload_digest, "notes": f"{CANARY} notes"},
            headers={"X-CSRFToken": csrf, "Referer": str(client.base_url)},
        )
        assert decided.status_code == 200
    said = read_log()
    for secret in (CANARY, bot.key, bot.key[4:], cookie, csrf, token):
        assert secret not in said
    assert [line for line in lines() if line["event"] == "request" and line["actor"]]


def test_what_postgresql_quotes_of_a_row_is_left_out(caplog, bot):
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO request_receipts (caller, endpoint, key, fingerprint, headers, body,"
                " subject_type) VALUES (NULL, 'e', %s, 'f', '{}', '', '')",
                [CANARY],
            )
    except IntegrityError:
        logging.getLogger("orchestrator").exception("Nobody foresaw this.")
    ours = next(h.formatter for h in logging.root.handlers if type(h) is logging.StreamHandler)
    said = ours.format(caplog.records[-1])
    assert "NotNullViolation" in said
    assert "DETAIL: (left out)" in said
    assert CANARY not in said


def test_a_bad_host_costs_one_line_and_no_traceback(serving, lines):
    with serving() as client:
        client.get("/tasks", headers={"Host": "evil.example"})
    reasons = [line for line in lines() if "evil.example" in line["event"]]
    assert len(reasons) == 1
    assert "exception" not in reasons[0]
    assert [line["status"] for line in lines() if line["event"] == "request"] == [400]
