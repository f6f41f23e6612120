from importlib import import_module

from django.apps import AppConfig


class ApprovalsConfig(AppConfig):
    name = "approvals_app"
    verbose_name = "Reviewing"

    def import_models(self) -> None:
        super().import_models()
        # Django imports models.py only, which may not import the layers above it.
        import_module("approvals_app.notifications.models")

    def ready(self) -> None:
        from approvals_app.decisions.gate import PolicyGate
        from approvals_app.decisions.signatures import find_forged_votes
        from approvals_app.models import Vote
        from approvals_app.notifications import recipients  # noqa: F401  # registers the consumer
        from audit_app.trail.verification import register_checker
        from sessions_app.gate import register

        register(PolicyGate())
        register_checker(Vote.subject_type, find_forged_votes)
