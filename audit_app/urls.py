from django.urls import path, register_converter
from rest_framework.routers import SimpleRouter

from audit_app.http.views import EventViewSet
from audit_app.proof import views
from audit_app.proof.jwks import verifier_keys

register_converter(views.LevelConverter, "level")
register_converter(views.PlaceConverter, "place")
router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("audit/events", EventViewSet, basename="event")
log = views.LogViewSet.as_view
urlpatterns = [
    *router.urls,
    path(
        "audit/events/<uuid:pk>/proof",
        views.ProofViewSet.as_view({"get": "proof"}),
        name="event-proof",
    ),
    path("audit/log/checkpoint", log({"get": "checkpoint"})),
    path("audit/log/keys", verifier_keys),
    path("audit/log/tile/<level:level>/<place:place>", log({"get": "tile"})),
    path(
        "audit/log/tile/entries/<place:place>",
        views.LogEntriesViewSet.as_view({"get": "entries"}),
    ),
]
