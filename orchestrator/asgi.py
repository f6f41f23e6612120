"""The ASGI application: ``gunicorn -c orchestrator/server/gunicorn.py orchestrator.asgi``."""

from typing import TYPE_CHECKING

from orchestrator.wsgi import application as django

if TYPE_CHECKING:
    from orchestrator.server.long_poll import LongPollHandler


def _build_application() -> "LongPollHandler":
    # Imported late: its imports need Django to be set up.
    from orchestrator.server.long_poll import LongPollHandler

    return LongPollHandler(django)


application = _build_application()
