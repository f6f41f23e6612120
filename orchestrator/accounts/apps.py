import logging

from django.apps import AppConfig


class SignInConfig(AppConfig):
    name = "orchestrator.accounts"
    label = "signin"
    verbose_name = "Sign-in"

    def ready(self) -> None:
        from orchestrator.accounts import lockout, sessions

        # What axes tells of every attempt, lockout.py tells in one line, with the trace id.
        logging.getLogger("axes").setLevel(logging.ERROR)
        lockout.connect()
        sessions.connect()
