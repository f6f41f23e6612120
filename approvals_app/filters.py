"""What approvals can be searched by."""

import django_filters

from approvals_app.models import Approval


class ApprovalFilter(django_filters.FilterSet):  # type: ignore[misc]  # untyped library
    status = django_filters.ChoiceFilter(choices=Approval.Status.choices)
    approver_role = django_filters.CharFilter()
    task_id = django_filters.UUIDFilter()

    class Meta:
        model = Approval
        fields: tuple[str, ...] = ()
