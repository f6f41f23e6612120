import logging

from django.apps import AppConfig


class SignInConfig(AppConfig):
    name = "orchestrator.accounts"
    label = "signin"
    verbose_name = "Sign-in"

    def ready(self) -> None:
        from orchestrator.accounts import lockout, sessions

        # lockout.py logs each failed login in one line with the trace id; axes would log more.
        logging.getLogger("axes").setLevel(logging.ERROR)
        lockout.connect()
        sessions.connect()
