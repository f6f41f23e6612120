"""Django as a WSGI application, which server/long_poll.py calls in its threads."""

import logging
import os
from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

from orchestrator.web import telemetry
from sessions_app.gate import approval_gate

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")


class Request(WSGIRequest):
    """A request decoded as UTF-8, whatever charset it names."""

    # Django would decode the query in the named charset before any middleware runs: charset=base64,
    # a thousand parameters or an unreadable header would make the server answer 500. An unreadable
    # header counts as an unknown type instead.

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        header = meta.get("CONTENT_TYPE", "")
        try:
            self.content_type, self.content_params = parse_header_parameters(header)
        except ValueError:
            self.content_type, self.content_params = "", {}


logging.captureWarnings(True)  # the log has JSON lines only
application = get_wsgi_application()
application.request_class = Request
approval_gate()  # fails at start if no gate is registered, as commands do by their checks
telemetry.start()
