"""Receipts over HTTP."""

from django.http import HttpResponse

from approvals_app.decisions.receipts import MEDIA_TYPE, sign_receipt
from sessions_app.models import Task


def respond_receipt(task: Task) -> HttpResponse:
    """The receipt of ``task`` as a file. Raises NotDecided and NotSealedYet."""
    return HttpResponse(
        sign_receipt(task),
        content_type=MEDIA_TYPE,
        headers={
            "Cache-Control": "no-cache",
            "Content-Disposition": f'attachment; filename="{task.pk}.receipt.jws"',
        },
    )
