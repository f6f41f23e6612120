"""What a reviewer is told after a decision: what it did, and what is still missing."""

from django.db.models import Prefetch
from django.utils.html import format_html
from django.utils.safestring import SafeString

from approvals_app.models import Approval, Vote
from approvals_app.payload.summary import summarize_text
from approvals_app.review import first_screen
from audit_app.base.actors import Actor
from audit_app.base.text_safety import shorten, visible
from sessions_app.models import Task

LONGEST_TITLE = 120


def describe_yes(approval: Approval, by: Actor, page: str) -> SafeString:
    """After a yes by ``by``; ``page`` is the address of the decision."""
    seat = _find_seat(approval, by)
    if missing := first_screen.say_missing(first_screen.count_votes(_load_pending(approval))):
        what = "Your review" if approval.override_id else "Your approval"
        return format_html("{}{} is recorded. {}.", what, seat, visible(missing))
    verb = "Upheld" if approval.override_id else "Approved"
    return _name_task(f"{verb}{seat}", approval.task, page)


def describe_no(approval: Approval, by: Actor, page: str) -> SafeString:
    """After a no by ``by``."""
    seat = _find_seat(approval, by)
    if approval.status == Approval.Status.PENDING:
        what = "objection" if approval.override_id else "rejection"
        return format_html("Your {}{} is recorded. More are needed to end this.", what, seat)
    verb = "Objected" if approval.override_id else "Rejected"
    return _name_task(f"{verb}{seat}", approval.task, page)


def _name_task(what: str, task: Task, page: str) -> SafeString:
    title = first_screen.write_title(
        task,
        {"description": task.description, "task_type": task.task_type, "data": task.data},
        summarize_text(task.payload),
    )
    text = shorten(title.text, LONGEST_TITLE).rstrip(".")
    link = format_html('<a class="o-link" href="{}">View</a>', page)
    return format_html("{}: {}. {}", what, visible(text), link)


def _find_seat(approval: Approval, by: Actor) -> str:
    """`` for frank`` where the last vote of ``by`` is in somebody's seat."""
    own = [vote for vote in approval.votes_cast if str(vote.voter_id) == by.id]
    if not own or own[-1].seat_of_id == own[-1].voter_id:
        return ""
    return f" for {own[-1].seat_of.get_username()}"


def _load_pending(approval: Approval) -> list[Approval]:
    """The approvals of the same decision that are still missing, with their votes."""
    pending = approval.task.approvals.pending().filter(
        revision=approval.revision, override=approval.override_id
    )
    votes = Prefetch("votes", Vote.objects.select_related("voter", "seat_of"))
    return list(pending.prefetch_related(votes).order_by("created_at", "id"))
