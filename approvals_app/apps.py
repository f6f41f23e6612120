from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "approvals_app"
    verbose_name = "Reviewing"

    def ready(self) -> None:
        from approvals_app import notices, receivers  # noqa: F401  # connects them
