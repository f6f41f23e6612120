"""What a person had written when a proof of who they are was asked for, or when their session had
ended: kept in their session.

It stays until it is sent, however often its page is opened meanwhile, since they may come back
without the proof. The browser keeps more, where it runs scripts (drafts.js).
"""

import time
from collections.abc import Callable, Mapping
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

DRAFTS = "drafts"
"""The session's entry: the fields of each form by its page, the newest last."""

PROVING = "draft_to_confirm"
"""The session's entry for the page that waits for the proof."""

SENT = "draft_sent"
"""The session's entry for what was sent: an approval's id, or its id and ".comment"."""

SIGNED_OUT = "draft_signed_out"
"""The entry of a session without a person for the form that was posted after theirs had ended."""

AUTHOR = "draft_author"
"""The signed cookie that says whose form is open in this browser."""

KEPT_SECONDS = 3_600
AUTHOR_SECONDS = 14 * 86_400
WAS_SIGNED_OUT = "You were signed out. Nothing was decided; your note is kept."
MAX_DRAFTS = 20
MAX_CHARACTERS = 2_000_000
NOT_WRITTEN = frozenset({"csrfmiddlewaretoken", "payload_digest", "approval"})


def keep_draft(request: HttpRequest, page: str) -> None:
    """Keep what was posted to ``page``; the oldest drafts give way if there are too many."""
    _store_draft(request, page, _read_written(request))
    request.session[PROVING] = page


def load_draft(request: HttpRequest, page: str) -> Mapping[str, str]:
    """What is posted now, or else the draft of ``page``; empty if there is none."""
    if request.method == "POST":
        return request.POST
    if (written := _pop_signed_out(request)) is not None:
        _store_draft(request, page, written)
        # drafts.js has the same to tell, and leaves it at this.
        messages.info(request, format_html("<span data-draft-told>{}</span>", WAS_SIGNED_OUT))
    draft: dict[str, str] = request.session.get(DRAFTS, {}).get(page, {})
    return draft


def forget_draft(request: HttpRequest, page: str, approval_id: UUID | None = None) -> None:
    """Forget the draft of ``page``, which was sent; the next page tells the browser, which keeps
    drafts of its own by ``approval_id``."""
    if approval_id is not None:
        request.session[SENT] = str(approval_id)
    drafts = request.session.get(DRAFTS, {})
    if drafts.pop(page, None) is not None:
        request.session[DRAFTS] = drafts
    confirm_draft(request, page)


def forget_comment(request: HttpRequest, approval_id: UUID) -> None:
    """Have the browser forget the draft of the comment on an approval, which was sent."""
    request.session[SENT] = f"{approval_id}.comment"


def pop_sent(request: HttpRequest) -> str:
    """The name of the draft that was just sent, as the browser has it; "" if there is none."""
    sent: str = request.session.pop(SENT, "")
    return sent


def confirm_draft(request: HttpRequest, page: str) -> bool:
    """Whether ``page`` waited for the proof; it does no more."""
    if request.session.get(PROVING) != page:
        return False
    del request.session[PROVING]
    return True


class SignedOutDraftMiddleware:
    """Keeps what is posted to a reviewer's form after their session ended.

    Nothing of it is executed: the page shows it again to the same person, within KEPT_SECONDS.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        place = reverse("admin:approvals_app_approval_changelist")
        if not request.path.startswith(place) or request.path == place:
            return response
        author = _read_author(request)
        if request.user.is_authenticated:
            # Only where there is a form: an answer must not tell whether a page exists.
            if (request.method, response.status_code) == ("GET", 200) and author != request.user.pk:
                _write_author(response, request.user.pk)
        # Not of a stranger, who would fill the table of sessions.
        elif request.method == "POST" and author and response.status_code == 302:
            written = _read_written(request)
            if sum(map(len, written.values())) <= MAX_CHARACTERS:
                entry = {"path": request.path, "author": author, "at": int(time.time())}
                request.session[SIGNED_OUT] = entry | {"written": written}
        return response


def _read_author(request: HttpRequest) -> int | None:
    value = request.get_signed_cookie(AUTHOR, "", salt=AUTHOR, max_age=AUTHOR_SECONDS)
    return int(value) if value else None


def _write_author(response: HttpResponse, author: int) -> None:
    response.set_signed_cookie(
        AUTHOR,
        str(author),
        salt=AUTHOR,
        max_age=AUTHOR_SECONDS,
        path=reverse("admin:approvals_app_approval_changelist"),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _pop_signed_out(request: HttpRequest) -> dict[str, str] | None:
    """What the reader posted to this page after their session ended; None if it was not theirs."""
    entry = request.session.get(SIGNED_OUT)
    if entry is None or entry["path"] != request.path:
        return None
    del request.session[SIGNED_OUT]
    is_theirs = entry["author"] == request.user.pk
    written: dict[str, str] = entry["written"]
    return written if is_theirs and time.time() - entry["at"] < KEPT_SECONDS else None


def _read_written(request: HttpRequest) -> dict[str, str]:
    posted = request.POST.dict().items()
    return {name: str(text) for name, text in posted if name not in NOT_WRITTEN}


def _store_draft(request: HttpRequest, page: str, written: dict[str, str]) -> None:
    drafts: dict[str, dict[str, str]] = request.session.get(DRAFTS, {})
    drafts.pop(page, None)
    drafts[page] = written
    # Every request of the session reads them.
    while len(drafts) > MAX_DRAFTS or (len(drafts) > 1 and _size(drafts) > MAX_CHARACTERS):
        drafts.pop(next(iter(drafts)))
    request.session[DRAFTS] = drafts


def _size(drafts: Mapping[str, Mapping[str, str]]) -> int:
    return sum(len(text) for draft in drafts.values() for text in draft.values())
