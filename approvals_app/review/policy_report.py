"""What the pages show of a simulation."""

from typing import Any, Final
from uuid import UUID

from approvals_app.policy.simulation import Report
from audit_app.base.actors import Actor
from sessions_app.models import Task

MOVES_SHOWN: Final = 50
UNMATCHED_SHOWN: Final = 10


def describe_report(report: Report, by: Actor) -> dict[str, Any]:
    """The context of the template report.html; titles only of tasks that ``by`` can see."""
    moves = report.list_moves()
    return {
        "report": report,
        "moves": moves[:MOVES_SHOWN],
        "more_moves": len(moves[MOVES_SHOWN:]),
        "unmatched": report.unmatched.total(),
        "unmatched_types": report.unmatched.most_common(UNMATCHED_SHOWN),
        "roles": _compare_roles(report),
        "hours": _build_bars(report.by_hour()) if report.approvals_needed else [],
        "lists": [
            {"title": "Outcomes that change", "tasks": report.changed, "count": report.changes},
            {
                "title": "Tasks with other approvers",
                "tasks": report.reassigned,
                "count": report.other_approvers,
            },
        ],
        "visible": _find_visible(report, by),
    }


def _find_visible(report: Report, by: Actor) -> set[UUID]:
    listed = [change.task_id for change in (*report.changed, *report.reassigned)]
    return set(Task.objects.visible_to(by).filter(pk__in=listed).values_list("pk", flat=True))


def _compare_roles(report: Report) -> list[dict[str, Any]]:
    """Approvals by group, the busiest first."""
    before, after = report.needed_before, report.by_role()
    names = sorted(before.keys() | after.keys(), key=lambda name: (-after.get(name, 0), name))
    return [
        {"name": name, "before": before.get(name, 0), "after": after.get(name, 0)} for name in names
    ]


def _build_bars(counts: list[int]) -> list[dict[str, Any]]:
    """The bars of the chart by hour, in the chart's units."""
    most = max(counts)
    return [
        {
            "x": 10 + hour * 24,
            "y": 110 - round(90 * count / most),
            "height": round(90 * count / most),
            "label": f"{hour:02}",
            "count": count,
        }
        for hour, count in enumerate(counts)
    ]
