"""Django's session table, read by a prepared query."""

from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db.models.functions import Now

from audit_app.base.prepared import Prepared

_living: Prepared[Session] = Prepared(
    lambda key: Session.objects.filter(session_key=key, expire_date__gt=Now())
)


class SessionStore(db.SessionStore):
    """Django's store; every request of a person reads it, so the SQL is compiled once."""

    def _get_session_from_db(self) -> Any:
        for session in _living(key=self.session_key):
            return session
        self._session_key = None
        return None
