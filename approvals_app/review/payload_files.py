"""A task's whole payload, apart from its page: as text to read, or as the bytes that are hashed."""

import json
from typing import Any

from django.http import HttpResponse

from approvals_app.payload.sensitive import mask
from sessions_app.models import Task


def respond(task: Task, *, exact: bool) -> HttpResponse:
    """The payload as JSON in ASCII, or the ``exact`` bytes as a file."""
    if not exact:
        return _respond_in_ascii(json.loads(task.payload))
    name = f'attachment; filename="{task.payload_digest}.json"'
    headers = {"Content-Disposition": name}
    return HttpResponse(task.payload_bytes, "application/octet-stream", headers=headers)


def respond_masked(task: Task) -> HttpResponse:
    """The payload as JSON in ASCII, without its sensitive values."""
    return _respond_in_ascii(mask(json.loads(task.payload)))


def _respond_in_ascii(payload: Any) -> HttpResponse:
    # ASCII has no letters that look alike, and escapes show what is hidden.
    text = json.dumps(payload, indent=2, sort_keys=True).replace("\x7f", "\\u007f")
    return HttpResponse(text, "text/plain; charset=us-ascii")
