from rest_framework.routers import SimpleRouter

from audit_app.http.views import EventViewSet

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("audit/events", EventViewSet, basename="event")
urlpatterns = router.urls
