"""Django, as the door (asgi.py) asks it in its threads."""

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
    """A request that is read as UTF-8, whatever charset it names.

    Django would read the query in that charset, and so soon that no middleware hears of it: with
    ``charset=base64``, a thousand parameters or a header that it can't read, the server itself
    would answer 500. A header that it can't read names no type that we know.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        header = meta.get("CONTENT_TYPE", "")
        try:
            self.content_type, self.content_params = parse_header_parameters(header)
        except ValueError:
            self.content_type, self.content_params = "", {}


logging.captureWarnings(True)  # a log of JSON lines has no others
application = get_wsgi_application()
application.request_class = Request
approval_gate()  # management commands check that it is registered; a server has to ask
telemetry.start()
