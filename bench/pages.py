"""The latency of the admin's pages at size: ``python -m bench.pages [--tasks 200000 20000]``.

For each number, a database is filled with so many tasks: 5,000 are pending, the others were decided
at a constant rate over the months before, each with its votes and events. Three people request
every page, one request at a time, in one process through all of Django: alice, who has two pending
decisions; bob, who has half of them; and root, who may read everything. Before each page a fixed
piece of work is timed: where it takes much longer than its best, other processes used the machine,
and the page is marked.

The rows are inserted by a few statements without triggers, as on a replica; every CHECK holds.
Payloads are jsonb's text, which the database accepts and which is as long. ``--place`` keeps the
databases for the next run.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from bench.measuring import (
    NOISY_YARDSTICK,
    TRANSACTION_STATEMENTS,
    count_rows,
    run_script,
    run_server,
    time_yardstick,
    use_database,
)

WAITING = 5_000
TASKS_PER_DAY = 1_000
"""Tasks decided per day: more tasks mean a longer history, not busier days."""

REQUESTS = 60
WARM_UP = 3
LIMIT_MS = 300
MAX_QUERIES = 12
TABLES = ("tasks", "approvals", "votes", "sessions", "audit_events")

PEOPLE = """
INSERT INTO auth_group (name) SELECT unnest(ARRAY['finance', 'legal', 'sre'])
UNION ALL SELECT 'role' || g FROM generate_series(4, 20) g;
INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff,
    is_active, date_joined)
SELECT '!', name = 'root', name, '', '', name || '@example.com', true, true, now()
FROM (SELECT 1 AS n, 'alice' AS name UNION ALL SELECT 2, 'bob' UNION ALL SELECT 3, 'root'
    UNION ALL SELECT g, 'user' || g FROM generate_series(4, 60) g) people ORDER BY n;
INSERT INTO auth_user_groups (user_id, group_id)
SELECT person.id, team.id FROM auth_user person
JOIN (SELECT id, name, row_number() OVER (ORDER BY id) AS n FROM auth_group) team ON CASE username
    WHEN 'alice' THEN team.name = 'finance' WHEN 'bob' THEN team.name IN ('legal', 'role4')
    WHEN 'root' THEN false ELSE team.n = 1 + substr(username, 5)::int %% 20 END;
INSERT INTO agents (id, version, created_at, updated_at, name, roles, status, owner_id)
SELECT gen_random_uuid(), 1, now(), now(), 'agent' || a, ARRAY['support'], 'active',
    CASE WHEN a IN (7, 8) THEN (SELECT id FROM auth_user WHERE username = 'alice')
    ELSE (SELECT min(id) + 5 + a %% 40 FROM auth_user) END
FROM generate_series(1, 100) a;
INSERT INTO saved_views (id, user_id, name, query)
SELECT gen_random_uuid(), person.id, 'View ' || v, 'type=refund_' || v || '&age=1d&q=kettle'
FROM auth_user person, generate_series(1, 30) v WHERE username IN ('alice', 'bob', 'root');
"""

GENERATED = """
CREATE TEMP TABLE a AS SELECT id, row_number() OVER (ORDER BY length(name), name) AS n FROM agents;
CREATE TEMP TABLE people AS SELECT person.id, person.username, team.name AS role,
    row_number() OVER (PARTITION BY team.name ORDER BY person.username) AS n,
    count(*) OVER (PARTITION BY team.name) AS among
FROM auth_user person JOIN auth_user_groups g ON g.user_id = person.id
    JOIN auth_group team ON team.id = g.group_id;
CREATE TEMP TABLE runs AS SELECT s AS n, gen_random_uuid() AS id, gen_random_uuid() AS trace_id,
    a.id AS agent_id FROM generate_series(0, %(tasks)s / 10) s JOIN a ON a.n = 1 + s %% 100;
CREATE TEMP TABLE made AS
SELECT t.n, gen_random_uuid() AS id, gen_random_uuid() AS approval_id, gen_random_uuid() AS vote_id,
    runs.agent_id, runs.id AS session_id, runs.trace_id, waits,
    CASE WHEN waits THEN now() - interval '9 days' * ((t.n::bigint * 7919) %% 5000) / 5000.0
    ELSE now() - (%(tasks)s - %(waiting)s - t.n) * (interval '1 day' / %(a_day)s)
        - interval '1 hour' END AS at,
    CASE WHEN waits THEN 'waits' WHEN t.n %% 20 = 0 THEN 'expired'
    WHEN t.n %% 10 = 1 THEN 'rejected' ELSE 'completed' END AS outcome,
    (ARRAY['refund', 'wire', 'gift', 'deploy', 'delete', 'mail'])[1 + t.n / 10 %% 6]
        || '_' || (t.n / 7) %% 5 AS task_type,
    CASE WHEN t.n > %(tasks)s - 2 THEN 'finance'
    WHEN waits THEN CASE WHEN t.n %% 2 = 0 THEN 'legal' ELSE 'role' || 4 + t.n / 2 %% 17 END
    WHEN t.n %% 3 = 0 THEN 'finance' WHEN t.n %% 3 = 1 THEN 'legal'
    ELSE 'role' || 4 + t.n / 3 %% 17 END AS to_role
FROM (SELECT n, n > %(tasks)s - %(waiting)s AS waits FROM generate_series(1, %(tasks)s) n) t
JOIN runs ON runs.n = t.n / 10;
CREATE TEMP TABLE decided AS SELECT made.*, people.id AS voter_id, people.username AS voter,
    'human:' || people.username AS who,
    made.at + interval '1 second' * (60 + (made.n::bigint * 104729) %% 7000) AS decided_at
FROM made JOIN LATERAL (SELECT * FROM people WHERE people.role = made.to_role
    AND people.n = 1 + made.n %% people.among) people ON true WHERE outcome NOT IN ('waits');
CREATE INDEX ON decided (id);
"""

ROWS = """
INSERT INTO sessions (id, version, created_at, updated_at, role, task_id, status, metadata,
    trace_id, agent_id)
SELECT runs.id, 1, min(made.at), min(made.at), 'support', 'ticket-' || runs.n, 'pending', '{}',
    runs.trace_id, runs.agent_id
FROM runs JOIN made ON made.session_id = runs.id
GROUP BY runs.id, runs.n, runs.trace_id, runs.agent_id ORDER BY 3;
INSERT INTO tasks (id, version, created_at, updated_at, task_type, description, from_role, to_role,
    data, context, payload, revision, trace_id, idempotency_key, status, agent_id, session_id,
    on_behalf_of, policy, verdict, why)
SELECT made.id, 1, at, at, task_type, said, 'support', to_role, d, c,
    jsonb_build_object('context', c, 'data', d, 'description', said, 'from_role', 'support',
        'task_type', task_type, 'to_role', to_role)::text,
    1, trace_id, 'key-' || made.n, CASE outcome WHEN 'waits' THEN 'awaiting_approval' ELSE outcome
    END, agent_id, session_id, CASE WHEN made.n %% 50 = 49 THEN 'alice' ELSE '' END, 'refunds',
    'require', 'The policy refunds asks finance.'
FROM made, LATERAL (SELECT 'Refund ' || made.n || ' EUR to customer ' || made.n %% 1000
        || ' for a broken kettle, order ' || md5(made.n::text) AS said,
    jsonb_build_object('amount', made.n %% 5000, 'currency', 'EUR', 'customer',
        'customer ' || made.n %% 1000, 'order', md5(made.n::text), 'items', made.n %% 7,
        'why', 'it leaks, and the customer sent a picture of it') AS d,
    jsonb_build_object('ticket', 'ticket-' || made.n / 10) AS c) AS words
ORDER BY at;
INSERT INTO approvals (id, version, created_at, updated_at, approver_role, status, reason,
    payload_digest, expires_at, notes, trace_id, task_id, at_deadline, deny_threshold, needed,
    reminders, revision, risk, type_out, decided_by_id, decision_at)
SELECT made.approval_id, 1, made.at, coalesce(decided_at, made.at), made.to_role,
    CASE made.outcome WHEN 'waits' THEN 'pending' WHEN 'completed' THEN 'approved'
    ELSE made.outcome END, '', payload_digest,
    CASE WHEN made.waits THEN now() + interval '1 day' * (1 + (made.n::bigint * 31) %% 900 / 100.0)
    ELSE made.at + interval '1 day' END, '', made.trace_id, made.id, '{}', 1,
    CASE WHEN made.waits AND made.n %% 3 = 0 THEN 2 ELSE 1 END, '[]', 1,
    (ARRAY['normal', 'normal', 'high', 'low'])[1 + made.n %% 4], '',
    CASE WHEN made.outcome IN ('completed', 'rejected') THEN voter_id END,
    CASE WHEN made.outcome IN ('completed', 'rejected') THEN decided_at END
FROM made JOIN tasks ON tasks.id = made.id LEFT JOIN decided ON decided.id = made.id
ORDER BY made.at;
INSERT INTO votes (id, version, created_at, updated_at, choice, payload_digest, notes, status,
    role, trace_id, approval_id, seat_of_id, voter_id)
SELECT vote_id, 1, decided_at, decided_at, CASE outcome WHEN 'rejected' THEN 'no' ELSE 'yes' END,
    payload_digest, CASE WHEN decided.n %% 5 = 0 THEN 'As agreed.' ELSE '' END, 'cast',
    decided.to_role, decided.trace_id, approval_id, voter_id, voter_id
FROM decided JOIN tasks USING (id) WHERE outcome <> 'expired' ORDER BY decided_at;
"""

TRAIL = """
CREATE TEMP TABLE happened AS
SELECT at, 'session.opened' AS what, 'agent:' || agents.name AS who, agent_id::text AS who_id,
    'session' AS kind, sessions.id, 1 AS seq, NULL AS before, 'pending' AS after, role, trace_id,
    '{}' AS told
FROM sessions JOIN agents ON agents.id = agent_id, LATERAL (SELECT sessions.created_at AS at) opened
UNION ALL
SELECT at, 'task.routed', 'agent:' || agents.name, agent_id::text, 'task', made.id, 1, NULL,
    'awaiting_approval', to_role, trace_id, '{"policy":"refunds","verdict":"require"}'
FROM made JOIN agents ON agents.id = agent_id
UNION ALL
SELECT at, 'approval.requested', 'agent:' || agents.name, agent_id::text, 'approval', approval_id,
    1, NULL, 'pending', to_role, trace_id, '{"needed":1}'
FROM made JOIN agents ON agents.id = agent_id
UNION ALL
SELECT decided_at, 'vote.cast', who, voter_id::text, 'vote', vote_id, 1, NULL, 'cast', to_role,
    trace_id, '{"choice":"' || CASE outcome WHEN 'rejected' THEN 'no' ELSE 'yes' END
        || '","looked_seconds":' || 3 + n %% 90 || '}'
FROM decided WHERE outcome <> 'expired'
UNION ALL
SELECT decided_at, CASE outcome WHEN 'completed' THEN 'approval.approved' ELSE 'approval.'
    || outcome END, CASE outcome WHEN 'expired' THEN 'system:expire' ELSE who END,
    CASE outcome WHEN 'expired' THEN 'expire' ELSE voter_id::text END, 'approval', approval_id, 2,
    'pending', CASE outcome WHEN 'completed' THEN 'approved' ELSE outcome END, to_role, trace_id,
    '{}' FROM decided
UNION ALL
SELECT decided_at, CASE outcome WHEN 'completed' THEN 'task.approved' ELSE 'task.' || outcome END,
    CASE outcome WHEN 'expired' THEN 'system:expire' ELSE who END,
    CASE outcome WHEN 'expired' THEN 'expire' ELSE voter_id::text END, 'task', id, 2,
    'awaiting_approval', CASE outcome WHEN 'completed' THEN 'approved' ELSE outcome END, to_role,
    trace_id, '{}' FROM decided
UNION ALL
SELECT decided_at + step * interval '1 minute',
    (ARRAY['task.claimed', 'task.completed'])[step], 'agent:' || agents.name, agent_id::text,
    'task', decided.id, 2 + step, (ARRAY['approved', 'claimed'])[step],
    (ARRAY['claimed', 'completed'])[step], to_role, trace_id, '{}'
FROM decided JOIN agents ON agents.id = agent_id, generate_series(1, 2) step
WHERE outcome = 'completed';
INSERT INTO audit_events (entry)
SELECT audit_entry(event_type => what, actor => who, actor_id => who_id, subject_type => kind,
    subject_id => id, seq => seq, from_state => before, to_state => after, role => role,
    trace_id => trace_id, metadata => told, at => at)
FROM (SELECT * FROM happened ORDER BY at, seq) happened;
UPDATE tasks SET version = 4 WHERE status = 'completed';
UPDATE tasks SET version = 2 WHERE status IN ('rejected', 'expired');
UPDATE approvals SET version = 2 WHERE status <> 'pending';
"""

OUTLIERS = """
UPDATE tasks SET session_id = (SELECT session_id FROM tasks ORDER BY created_at DESC LIMIT 1)
WHERE id IN (SELECT id FROM tasks ORDER BY created_at DESC LIMIT 2000);
UPDATE tasks SET data = data || wide, payload = (payload::jsonb
    || jsonb_build_object('data', data || wide))::text
FROM (SELECT jsonb_build_object('lines', jsonb_agg(jsonb_build_object('name', 'item ' || g,
    'price', g, 'note', repeat(md5(g::text), 2)))) AS wide FROM generate_series(1, 8500) g) w
WHERE id = (SELECT task_id FROM approvals WHERE status = 'pending' AND approver_role = 'legal'
    ORDER BY created_at LIMIT 1);
UPDATE approvals SET payload_digest = tasks.payload_digest FROM tasks
WHERE tasks.id = task_id AND approvals.payload_digest <> tasks.payload_digest;
CREATE TEMP TABLE often AS SELECT approvals.* FROM approvals WHERE status = 'pending'
    AND approver_role = 'legal' ORDER BY created_at OFFSET 1 LIMIT 1;
INSERT INTO task_revisions (id, task_id, number, payload, replaced_at)
SELECT gen_random_uuid(), tasks.id, g, payload, now() FROM tasks, generate_series(1, 20) g
WHERE tasks.id = (SELECT task_id FROM often);
UPDATE tasks SET revision = 21, version = 21 WHERE id = (SELECT task_id FROM often);
UPDATE approvals SET revision = 21 WHERE id = (SELECT id FROM often);
INSERT INTO approvals (id, version, created_at, updated_at, approver_role, status, reason,
    payload_digest, expires_at, notes, trace_id, task_id, at_deadline, deny_threshold, needed,
    reminders, revision, risk, type_out, decided_by_id, decision_at)
SELECT gen_random_uuid(), 2, created_at + g * interval '1 minute', created_at, approver_role,
    'rejected', '', payload_digest, expires_at, 'Not yet.', trace_id, task_id, '{}', 1, 1, '[]', g,
    'normal', '', (SELECT id FROM auth_user WHERE username = 'user30'),
    created_at + g * interval '1 minute' FROM often, generate_series(1, 20) g;
INSERT INTO votes (id, version, created_at, updated_at, choice, payload_digest, notes, status,
    role, trace_id, approval_id, seat_of_id, voter_id)
SELECT gen_random_uuid(), 1, decision_at, decision_at, 'no', payload_digest, notes, 'cast',
    approver_role, trace_id, id, decided_by_id, decided_by_id
FROM approvals WHERE notes = 'Not yet.';
"""


@dataclass(frozen=True, slots=True)
class Page:
    """One page as one person requests it; ``name`` is the same at every size."""

    person: str
    name: str
    path: str


@dataclass(slots=True)
class PageTimings:
    page: Page
    queries: int
    times: list[float] = field(default_factory=list)
    slower: float = 1.0
    """How much slower than its best the yardstick was right before."""

    @property
    def p50(self) -> float:
        return statistics.median(self.times)

    @property
    def p95(self) -> float:
        return sorted(self.times)[min(len(self.times) - 1, int(len(self.times) * 0.95))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, nargs="+", default=[200_000, 20_000])
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--only", default="", help="pages whose name holds this")
    parser.add_argument("--who", nargs="+", default=["alice", "bob", "root"])
    parser.add_argument("--place", type=Path, help="a folder that keeps the databases")
    parser.add_argument("--explain", action="store_true", help="show the slowest statement of each")
    options = parser.parse_args()
    with run_server(options.place) as url:
        timings = {}
        for tasks in options.tasks:
            database_url = use_database(url, f"pages_{tasks}", partial(fill, tasks=tasks))
            timings[tasks] = _measure(options)
            _print_results(timings[tasks], count_rows(database_url, TABLES))
        if len(timings) > 1:
            _print_growth(timings[max(timings)], timings[min(timings)], max(timings), min(timings))


def fill(builder: "psycopg.Connection[Any]", tasks: int) -> None:
    """Insert all rows, without triggers; the constraints hold."""
    values = {"tasks": tasks, "waiting": WAITING, "a_day": TASKS_PER_DAY}
    for part in (PEOPLE, GENERATED, ROWS, TRAIL, OUTLIERS):
        run_script(builder, part, values)


def _list_pages(person: str) -> Iterator[Page]:
    """Every page whose cost could grow with the data, as ``person`` requests it."""
    from django.contrib.auth.models import User

    from approvals_app.models import Approval
    from audit_app.base.actors import Actor
    from audit_app.models import Event
    from sessions_app.models import AgentSession, Task

    actor = Actor.human(User.objects.get(username=person))
    lists = "/admin/{}/"
    waits = (
        Approval.objects.filter(status="pending").visible_to(actor).select_related("task__agent")
    )
    one = waits.exclude(revision=21).order_by("-created_at")[0]
    role, kind, agent = one.approver_role, one.task.task_type, one.task.agent.name
    inbox = {
        "first page": "",
        "page 2": "page=2",
        "page 60": "page=60",
        "my decisions": "tab=decided",
        "what I asked for": "tab=asked",
        "by role": f"role={role}",
        "by type": f"type={kind}",
        "by agent": f"agent={agent}",
        "by age": "age=1d",
        "search, much": "q=refund+kettle",
        "search, one": f"q={one.task.description.split()[-1]}",
        "search, nothing": "q=zeppelin",
        "saved view": "type=refund_1&age=1d&q=kettle",
    }
    for name, query in inbox.items():
        yield Page(person, f"inbox: {name}", f"/admin/?{query}")
    yield Page(person, "inbox: the list alone", "/admin/inbox/")
    decision = "/admin/approvals_app/approval/{}/change/"
    yield Page(person, "decision: plain", decision.format(one.pk))
    done = Approval.objects.filter(status="approved").visible_to(actor).order_by("-created_at")[0]
    yield Page(person, "decision: made", decision.format(done.pk))
    for revised in waits.filter(revision=21):
        yield Page(person, "decision: 20 before it", decision.format(revised.pk))
    for large in waits.filter(task__payload__regex="item 8500"):
        yield Page(person, "decision: 1 MB", decision.format(large.pk))
    for days in (7, 30, 90):
        yield Page(person, f"dashboards: {days} days", f"/admin/dashboards/?days={days}")
    timeline = "/admin/timeline/{}/{}/"
    yield Page(person, "timeline: task", timeline.format("task", done.task_id))
    yield Page(person, "timeline: trace", timeline.format("trace", done.trace_id))
    session = Task.objects.get(pk=done.task_id).session_id
    yield Page(person, "timeline: session", timeline.format("session", session))
    newest = AgentSession.objects.visible_to(actor).order_by("-created_at")[0]
    yield Page(person, "timeline: newest session", timeline.format("session", newest.pk))
    yield Page(person, "timeline: person", timeline.format("person", "alice"))
    yield Page(person, "timeline: another person", timeline.format("person", "user30"))
    yield Page(person, "timeline: nobody", timeline.format("person", "nobody"))
    yield Page(person, "timeline: agent", timeline.format("agent", "agent7"))
    yield Page(person, "timeline: agent, deep", timeline.format("agent", "agent7") + "?before=5000")
    event = Event.objects.visible_to(actor).filter(subject_id=done.pk)[0]
    yield Page(person, "page of a task", f"/admin/sessions_app/task/{done.task_id}/change/")
    yield Page(person, "page of a session", f"/admin/sessions_app/agentsession/{session}/change/")
    yield Page(person, "page of an event", f"/admin/audit_app/event/{event.pk}/change/")
    searched = {
        "sessions_app/task": ("q=refund+kettle", "q=zeppelin", "status__exact=awaiting_approval"),
        "approvals_app/approval": ("q=refund+kettle", "q=zeppelin", "status__exact=pending"),
        "sessions_app/agentsession": ("q=ticket-1", "q=zeppelin", "status__exact=completed"),
        "audit_app/event": (f"q={done.trace_id}", "q=zeppelin", "event=vote.cast"),
    }
    for address, (some, nothing, narrowed) in searched.items():
        name, path = address.rpartition("/")[2], lists.format(address)
        yield Page(person, f"list of {name}s", path)
        yield Page(person, f"list of {name}s: page 20", f"{path}?p=20")
        yield Page(person, f"list of {name}s: page 300", f"{path}?p=300")
        yield Page(person, f"list of {name}s: search", f"{path}?{some}")
        yield Page(person, f"list of {name}s: search, nothing", f"{path}?{nothing}")
        yield Page(person, f"list of {name}s: filter", f"{path}?{narrowed}")
    yield Page(person, "list of agents", lists.format("sessions_app/agent"))
    yield Page(person, "policies", lists.format("policies"))
    yield Page(person, "notifications", lists.format("notifications"))
    yield Page(person, "standing in", lists.format("away"))


def _measure(options: argparse.Namespace) -> list[PageTimings]:
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from orchestrator.server.gunicorn import tune_garbage_collection

    tune_garbage_collection()  # as the web process does
    timings, best = [], min(time_yardstick() for _ in range(5))
    for person in options.who:
        client = Client(headers={"host": "localhost"})
        client.force_login(User.objects.get(username=person))
        for page in _list_pages(person):
            if options.only not in page.name:
                continue
            with CaptureQueriesContext(connection) as sent:
                response = client.get(page.path)
            if response.status_code != 200:
                raise SystemExit(f"{page.path} of {person} answered {response.status_code}.")
            queries = [
                q for q in sent.captured_queries if not q["sql"].startswith(TRANSACTION_STATEMENTS)
            ]
            one = PageTimings(page, len(queries))
            for _ in range(WARM_UP - 1):
                client.get(page.path)
            now = time_yardstick()
            best = min(best, now)
            one.slower = now / best
            gc.collect()
            for _ in range(options.requests):
                start = time.perf_counter()
                client.get(page.path).content  # noqa: B018  # a template is rendered by now
                one.times.append(1000 * (time.perf_counter() - start))
            timings.append(one)
            if options.explain:
                _print_slowest(one, queries)
    return timings


def _print_results(timings: list[PageTimings], rows: dict[str, int]) -> None:
    print()
    print(", ".join(f"{count:,} {table}" for table, count in rows.items()))
    print()
    print("| who | page | p50 ms | p95 ms | queries | |")
    print("| --- | --- | --- | --- | --- | --- |")
    for one in timings:
        marks = []
        if one.p95 > LIMIT_MS:
            marks.append("too slow")
        if one.queries > MAX_QUERIES:
            marks.append("too many")
        if one.slower > NOISY_YARDSTICK:
            marks.append("noisy")
        columns = f"| {one.page.person} | {one.page.name} | {one.p50:.0f} | {one.p95:.0f} "
        print(f"{columns}| {one.queries} | {', '.join(marks)} |")
    noisy = sum(one.slower > NOISY_YARDSTICK for one in timings)
    if noisy * 4 > len(timings):
        print("\nThe machine was too noisy for these figures to be used.")


def _print_growth(
    large: list[PageTimings], small: list[PageTimings], most: int, fewest: int
) -> None:
    """Print the ten pages that grow most with the number of tasks."""
    before = {(one.page.person, one.page.name): one for one in small}
    ratios = [
        (one.p50 / before[key].p50, key)
        for one in large
        if (key := (one.page.person, one.page.name)) in before
    ]
    print(f"\nThe time at {most:,} tasks over that at {fewest:,}, at p50: the ten that grow most")
    for ratio, (person, name) in sorted(ratios, reverse=True)[:10]:
        print(f"  {ratio:.2f}  {person}, {name}")


def _print_slowest(one: PageTimings, queries: list[dict[str, str]]) -> None:
    print(f"{one.page.person} {one.page.name}: p50 {one.p50:.0f}, p95 {one.p95:.0f}, {one.queries}")
    for query in sorted(queries, key=lambda q: -float(q["time"]))[:2]:
        if float(query["time"]) > 0.02:
            print(f"    {query['time']} {query['sql'][:3000]}")


if __name__ == "__main__":
    main()
