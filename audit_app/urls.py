from rest_framework.routers import SimpleRouter

from audit_app.streams import EventStreamViewSet
from audit_app.views import EventViewSet

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("audit/events", EventViewSet, basename="event")
router.register("events", EventStreamViewSet, basename="event-stream")
urlpatterns = router.urls
