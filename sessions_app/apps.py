from django.apps import AppConfig
from django.core.checks import register


class SessionsConfig(AppConfig):
    name = "sessions_app"
    verbose_name = "Agents at work"

    def ready(self) -> None:
        from sessions_app import gate

        register(gate.check_registered)
