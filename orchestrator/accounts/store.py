"""Django's session table, read by a prepared query; logins at the issuer are recorded beside it."""

from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db.models.functions import Now

from audit_app.base.prepared import Prepared
from orchestrator.accounts.models import IssuerSession

ISSUER_LOGIN = "signin_issuer"
"""The session's entry with the columns of its IssuerSession."""

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

    def save(self, must_create: bool = False) -> None:
        super().save(must_create)
        # Here and not at login, since a session's key changes during its life.
        login, key = self.get(ISSUER_LOGIN), self.session_key
        if login and key:
            IssuerSession.objects.bulk_create(
                [IssuerSession(session_id=key, **login)],
                update_conflicts=True,
                unique_fields=["session_id"],
                update_fields=["issuer", "subject", "sid"],
            )
