"""The WSGI door, for gunicorn."""

import os

from django.core.wsgi import get_wsgi_application

from orchestrator import telemetry

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")

application = get_wsgi_application()
telemetry.start()
