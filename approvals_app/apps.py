from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "approvals_app"
    verbose_name = "Reviewing"

    def ready(self) -> None:
        from approvals_app import notices  # noqa: F401  # connects its relay
        from approvals_app.gate import PolicyGate
        from sessions_app.gate import register

        register(PolicyGate())
