from rest_framework.routers import SimpleRouter

from approvals_app.views import ApprovalViewSet

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("approvals", ApprovalViewSet, basename="approval")
urlpatterns = router.urls
