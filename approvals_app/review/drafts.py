"""What a person had written when a proof of who they are was asked for: kept in their session.

It stays until it is sent, however often its page is opened meanwhile, since they may come back
without the proof. The browser keeps more, where it runs scripts (drafts.js).
"""

from collections.abc import Mapping
from uuid import UUID

from django.http import HttpRequest

DRAFTS = "drafts"
"""The session's entry: the fields of each form by its page, the newest last."""

PROVING = "draft_to_confirm"
"""The session's entry for the page that waits for the proof."""

SENT = "draft_sent"
"""The session's entry for the approval whose draft was sent."""

MAX_DRAFTS = 20
MAX_CHARACTERS = 2_000_000
NOT_WRITTEN = frozenset({"csrfmiddlewaretoken", "payload_digest", "approval"})


def keep_draft(request: HttpRequest, page: str) -> None:
    """Keep what was posted to ``page``; the oldest drafts give way if there are too many."""
    drafts: dict[str, dict[str, str]] = request.session.get(DRAFTS, {})
    drafts.pop(page, None)
    posted = request.POST.dict().items()
    drafts[page] = {name: str(text) for name, text in posted if name not in NOT_WRITTEN}
    # Every request of the session reads them.
    while len(drafts) > MAX_DRAFTS or (len(drafts) > 1 and _size(drafts) > MAX_CHARACTERS):
        drafts.pop(next(iter(drafts)))
    request.session[DRAFTS], request.session[PROVING] = drafts, page


def load_draft(request: HttpRequest, page: str) -> Mapping[str, str]:
    """What is posted now, or else the draft of ``page``; empty if there is none."""
    if request.method == "POST":
        return request.POST
    draft: dict[str, str] = request.session.get(DRAFTS, {}).get(page, {})
    return draft


def forget_draft(request: HttpRequest, page: str, approval_id: UUID | None = None) -> None:
    """Forget the draft of ``page``, which was sent; the next inbox tells the browser, which keeps
    drafts of its own by ``approval_id``."""
    if approval_id is not None:
        request.session[SENT] = str(approval_id)
    drafts = request.session.get(DRAFTS, {})
    if drafts.pop(page, None) is not None:
        request.session[DRAFTS] = drafts
    confirm_draft(request, page)


def pop_sent(request: HttpRequest) -> str:
    """The id of the approval whose draft was just sent; "" if there is none."""
    sent: str = request.session.pop(SENT, "")
    return sent


def confirm_draft(request: HttpRequest, page: str) -> bool:
    """Whether ``page`` waited for the proof; it does no more."""
    if request.session.get(PROVING) != page:
        return False
    del request.session[PROVING]
    return True


def _size(drafts: Mapping[str, Mapping[str, str]]) -> int:
    return sum(len(text) for draft in drafts.values() for text in draft.values())
