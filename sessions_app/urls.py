from rest_framework.routers import SimpleRouter

from sessions_app.views import SessionTaskViewSet, SessionViewSet, TaskViewSet

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("sessions", SessionViewSet, basename="session")
router.register("sessions/<uuid:session_id>/tasks", SessionTaskViewSet, basename="session-task")
router.register("tasks", TaskViewSet, basename="task")
urlpatterns = router.urls
