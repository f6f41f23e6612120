"""Django finds an app's admin here; ours is in review/."""

from approvals_app.review import admin, task_admin

__all__ = ["admin", "task_admin"]
