from importlib import import_module

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "approvals_app"
    verbose_name = "Reviewing"

    def import_models(self) -> None:
        super().import_models()
        # Django looks into models.py alone; these stand on a floor above it.
        import_module("approvals_app.notifications.models")

    def ready(self) -> None:
        from approvals_app.decisions.gate import PolicyGate
        from approvals_app.notifications import recipients  # noqa: F401  # connects its relay
        from sessions_app.gate import register

        register(PolicyGate())
