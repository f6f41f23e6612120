"""Checks the session behind ``request.user``."""

from collections.abc import Callable
from functools import partial

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from orchestrator.accounts import sessions


class AssuranceMiddleware:
    """Sets ``request.user.assurance`` for Actor.human; an expired session becomes AnonymousUser.

    It follows AuthenticationMiddleware and is as lazy: a request that never reads the user costs
    nothing.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user, auser = request.user, request.auser

        async def person() -> User | AnonymousUser:
            return await sync_to_async(sessions.authenticate_session)(request, await auser())

        request.user = SimpleLazyObject(partial(sessions.authenticate_session, request, user))  # type: ignore[assignment]
        request.auser = person
        return self.get_response(request)
