"""The filters of the lists of sessions and tasks."""

import django_filters

from audit_app.http.filters import IdFilter, MomentFilter
from sessions_app.models import AgentSession, Task


class SessionFilter(django_filters.FilterSet):  # type: ignore[misc]  # untyped library
    state = django_filters.ChoiceFilter(field_name="status", choices=AgentSession.Status.choices)
    agent_role = django_filters.CharFilter(field_name="role")
    task_id = django_filters.CharFilter()
    created_after = MomentFilter(field_name="created_at", lookup_expr="gt")
    created_before = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = AgentSession
        fields: tuple[str, ...] = ()


class TaskFilter(django_filters.FilterSet):  # type: ignore[misc]  # untyped library
    to_role = django_filters.CharFilter()
    from_role = django_filters.CharFilter()
    status = django_filters.ChoiceFilter(choices=Task.Status.choices)
    task_type = django_filters.CharFilter()
    session_id = IdFilter()
    trace_id = IdFilter()

    class Meta:
        model = Task
        fields: tuple[str, ...] = ()
