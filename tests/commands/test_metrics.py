"""/metrics, as Prometheus reads it."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from approvals_app import errors
from approvals_app.decisions import operations
from approvals_app.notifications import delivery
from audit_app.base.actors import Actor
from orchestrator.ops.metrics import database_metrics
from tests.client import Api
from tests.commands.conftest import run_for_output
from tests.factories import TaskFactory, set_columns, the_approval


@pytest.fixture(autouse=True)
def forget():
    """No test reads what another's scrape kept."""
    yield
    database_metrics.forget()


def scrape_metrics(**headers):
    database_metrics.forget()
    answer = Api(**headers).get("/metrics")
    assert answer.status_code == 200
    found = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        for sample in family.samples:
            found[(sample.name, *sorted(sample.labels.values()))] = sample.value
    return found


def test_requests_are_counted_by_route_and_never_by_address(api, bot):
    counted = ("orchestrator_request_seconds_count", "200", "GET", "tasks/<uuid:pk>")
    task = TaskFactory(agent=bot)
    before = scrape_metrics().get(counted, 0)
    api(bot).get(f"/tasks/{task.pk}")
    after = scrape_metrics()
    assert after[counted] == before + 1
    assert not [key for key in after if str(task.pk) in "".join(key)]


def test_decisions_are_counted_with_what_came_of_them(alice, bot):
    done = ("orchestrator_operations_total", "approval.approve", "done")
    late = ("orchestrator_operations_total", "already_decided", "approval.approve")
    before = scrape_metrics()
    approval = the_approval(TaskFactory(agent=bot))
    given = {"by": Actor.human(alice), "payload_digest": approval.payload_digest}
    operations.approve(approval.pk, **given)
    with pytest.raises(errors.AlreadyDecided):
        operations.approve(approval.pk, **given)
    after = scrape_metrics()
    assert after[done] == before.get(done, 0) + 1
    assert after[late] == before.get(late, 0) + 1


def test_what_waits_is_counted_by_role_and_age(bot):
    from approvals_app.models import Approval

    TaskFactory(agent=bot)
    told = scrape_metrics()
    assert told[("orchestrator_approvals_waiting", "5m", "finance")] == 1
    assert told[("orchestrator_approvals_overdue", "finance")] == 0
    approval = Approval.objects.get()
    early = approval.created_at - (approval.expires_at - approval.created_at) * 2
    set_columns(Approval, created_at=early, expires_at=approval.created_at)
    told = scrape_metrics()
    assert told[("orchestrator_approvals_waiting", "5m", "finance")] == 0
    assert told[("orchestrator_approvals_waiting", "finance", "older")] == 1
    assert told[("orchestrator_approvals_oldest_seconds", "finance")] > 86_400
    assert told[("orchestrator_approvals_overdue", "finance")] == 1


def test_runs_of_commands_are_counted_whichever_process_ran_them(bot, manage):
    assert ("orchestrator_command_runs_total", "expire_approvals") not in scrape_metrics()
    for _ in range(2):
        assert manage("expire_approvals").wait() == 0
    assert manage("expire_approvals", "--dry-run").wait() == 0
    told = scrape_metrics()
    assert told[("orchestrator_command_runs_total", "expire_approvals")] == 2
    assert told[("orchestrator_command_failures_total", "expire_approvals")] == 0
    assert told[("orchestrator_command_success_timestamp_seconds", "expire_approvals")] > 1.7e9


def test_what_expiry_did_is_added_up(bot):
    from sessions_app.models import AgentSession
    from tests.factories import SessionFactory

    for _ in range(2):
        session = SessionFactory(agent=bot)
        set_columns(AgentSession, updated_at=session.updated_at.replace(year=2020))
        run_for_output("expire_sessions")
    assert scrape_metrics()[("orchestrator_command_rows_total", "expire_sessions", "sessions")] == 2


def test_a_broken_trail_is_a_failed_run(bot, manage):
    from tests.database import without_guards

    TaskFactory(agent=bot)
    with without_guards() as cursor:
        cursor.execute("DELETE FROM audit_events WHERE event_type = 'task.routed'")
    assert manage("verify_audit").wait() == 1
    told = scrape_metrics()
    assert told[("orchestrator_command_failures_total", "verify_audit")] == 1
    assert told[("orchestrator_command_success_timestamp_seconds", "verify_audit")] == 0


def test_jobs_that_nobody_does_are_counted_and_grow_old(bot):
    name = "orchestrator_jobs_oldest_waiting_seconds"
    told = scrape_metrics()
    assert told[(name, "notices")] == told[("orchestrator_jobs_waiting", "notices")] == 0
    delivery.defer_delivery(["email:1"])
    told = scrape_metrics()
    assert told[("orchestrator_jobs_waiting", "notices")] == 1
    assert 0 < told[(name, "notices")] < 600
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_events SET at = at - interval '1 hour'")
    assert scrape_metrics()[(name, "notices")] > 3600
    delivery.deliver.configure(schedule_in={"hours": 1}).defer(place="email:2")
    assert scrape_metrics()[("orchestrator_jobs_waiting", "notices")] == 1, "the other is not due"


def test_a_second_scrape_at_once_asks_the_database_nothing(bot, settings):
    settings.ADDRESS_LIMIT_PER_MINUTE = 0
    first = scrape_metrics()
    TaskFactory(agent=bot)
    database_metrics.forget()
    with CaptureQueriesContext(connection) as caught:
        second = Api().get("/metrics").content.decode()
    assert len(caught) == 6
    TaskFactory(agent=bot)
    with CaptureQueriesContext(connection) as caught:
        third = Api().get("/metrics").content.decode()
    assert len(caught) == 0
    waiting = [line for line in second.splitlines() if "approvals_waiting" in line]
    assert waiting == [line for line in third.splitlines() if "approvals_waiting" in line]
    assert ("orchestrator_approvals_waiting", "5m", "finance") not in first


def test_a_scrape_counts_with_as_many_queries_however_much_there_is(bot, settings):
    settings.ADDRESS_LIMIT_PER_MINUTE = 0
    for _ in range(5):
        TaskFactory(agent=bot)
    with CaptureQueriesContext(connection) as caught:
        scrape_metrics()
    assert len(caught) == 6


def test_only_who_bears_the_token_reads_them(settings):
    settings.METRICS_TOKEN = "m" * 32
    assert Api().get("/metrics").status_code == 401
    assert Api(Authorization="Bearer nonsense").get("/metrics").status_code == 401
    assert ("orchestrator_database_up",) in scrape_metrics(Authorization=f"Bearer {'m' * 32}")
    settings.METRICS_TOKEN, settings.TRIAL = "", False
    assert Api().get("/metrics").status_code == 404
