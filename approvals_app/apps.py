from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "approvals_app"
    verbose_name = "Reviewing"

    def ready(self) -> None:
        from approvals_app.decisions.gate import PolicyGate
        from approvals_app.notifications import recipients  # noqa: F401  # connects its relay
        from sessions_app.gate import register

        register(PolicyGate())
