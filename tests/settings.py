"""The application's settings, but for what only costs time where nobody's secret is kept.

``DJANGO_SETTINGS_MODULE`` names them for the tests and for every process that inherits their
environment; the application itself knows nothing of them.
"""

from orchestrator.settings import *  # noqa: F403  # all of them, whatever they are

# Django's own is slow on purpose, and a test signs in dozens of people.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Most tests route to roles without reviewers; those of unknown roles switch this off.
ALLOW_UNKNOWN_ROLES = True
