"""The views that ops query by name."""

from django.db import connection

from tests.factories import TaskFactory, approve_task, session_in, the_approval


def read(view):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {view}")
        names = tuple(column.name for column in cursor.description)
        return names, cursor.fetchall()


def test_pending_approvals_are_listed_oldest_first(alice, bot):
    tasks = [TaskFactory(agent=bot, description=f"Refund {n}.") for n in range(3)]
    approve_task(TaskFactory(agent=bot), by=alice)
    names, rows = read("pending_approvals")

    assert names == (
        "id",
        "task_id",
        "approver_role",
        "created_at",
        "description",
        "from_role",
        "to_role",
    )
    assert [row[1] for row in rows] == [task.pk for task in tasks]
    first = the_approval(tasks[0])
    expected = (first.pk, tasks[0].pk, "finance", first.created_at)
    assert rows[0] == (*expected, "Refund 0.", "support-agent", "finance")


def test_active_sessions_are_listed_newest_first(bot):
    active = [session_in("active", bot) for _ in range(3)]
    for state in ("pending", "completed", "failed", "expired"):
        session_in(state, bot)
    names, rows = read("active_sessions")

    assert names == ("id", "role", "task_id", "created_at", "updated_at")
    assert [row[0] for row in rows] == [session.pk for session in reversed(active)]
    newest = active[-1]
    expected = (newest.pk, "support-agent", None, newest.created_at, newest.updated_at)
    assert rows[0] == expected
