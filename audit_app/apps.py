from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "audit_app"
    verbose_name = "Audit trail"

    def ready(self) -> None:
        from audit_app import deliveries  # noqa: F401  # registers its relay and its job
