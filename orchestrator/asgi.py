"""What gunicorn serves: ``gunicorn -c orchestrator/server/gunicorn.py orchestrator.asgi``."""

from typing import TYPE_CHECKING

from orchestrator.wsgi import application as django

if TYPE_CHECKING:
    from orchestrator.server.long_poll import Door


def _door() -> "Door":
    from orchestrator.server.long_poll import Door  # Django is set up now, which its imports need

    return Door(django)


application = _door()
