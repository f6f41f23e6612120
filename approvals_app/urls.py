from rest_framework.routers import SimpleRouter

from approvals_app.api.approvals import ApprovalViewSet
from approvals_app.api.tasks import SessionTaskViewSet, TaskViewSet

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("sessions/<uuid:session_id>/tasks", SessionTaskViewSet, basename="session-task")
router.register("tasks", TaskViewSet, basename="task")
router.register("approvals", ApprovalViewSet, basename="approval")
urlpatterns = router.urls
