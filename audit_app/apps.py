from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "audit_app"
    verbose_name = "Audit trail"

    def ready(self) -> None:
        from audit_app.webhooks import sending  # noqa: F401  # registers its job, and the relay below it
