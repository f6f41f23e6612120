"""The filters of lists of approvals."""

import django_filters

from approvals_app.models import Approval
from audit_app.http.filters import IdFilter


class ApprovalFilter(django_filters.FilterSet):  # type: ignore[misc]  # untyped library
    status = django_filters.ChoiceFilter(choices=Approval.Status.choices)
    approver_role = django_filters.CharFilter()
    task_id = IdFilter()

    class Meta:
        model = Approval
        fields: tuple[str, ...] = ()
