"""Times are told in the reader's clock, to two units, and what is over says when it was."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from approvals_app.notifications.models import NoticeSettings
from approvals_app.templatetags.approvals import ago, due, exact, moment, time_left
from audit_app.base.times import format_length
from tests.factories import TaskFactory, the_approval

NOW = datetime(2026, 11, 30, 10, 54, 0, tzinfo=UTC)
DAY, HOUR, MINUTE, SECOND = (
    timedelta(**{unit: 1}) for unit in ("days", "hours", "minutes", "seconds")
)


@pytest.fixture
def now():
    with time_machine.travel(NOW, tick=False):
        yield NOW


def words(html):
    return re.sub(r"<[^>]*>", "", html)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("length", "said"),
    [
        (2 * DAY - MINUTE, "1 d 23 h"),
        (2 * DAY, "2 d"),
        (DAY + 59 * MINUTE, "1 d"),
        (HOUR + 29 * MINUTE + 59 * SECOND, "1 h 29 min"),
        (HOUR, "1 h"),
        (59 * MINUTE + 59 * SECOND, "59 min"),
        (2 * MINUTE, "2 min"),
        (2 * MINUTE - SECOND, "1 min 59 s"),
        (MINUTE, "1 min"),
        (45 * SECOND, "45 s"),
        (-SECOND, "0 s"),
    ],
)
def test_lengths_have_two_units_and_are_never_longer_than_what_is_left(length, said):
    assert format_length(length) == said


@pytest.mark.pure
@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (89 * MINUTE, "Due today 13:23 (1 h 29 min)"),
        (2 * DAY - MINUTE, "Due Wed 11:53 (1 d 23 h)"),
        (7 * DAY, "Due 7 Dec 11:54 (7 d)"),
        (40 * DAY, "Due 9 Jan 2027 11:54 (40 d)"),
        (-5 * MINUTE, "Expired at 11:49"),
        (-DAY, "Expired 29 Nov 11:54"),
    ],
)
def test_a_deadline_is_told_in_the_clock_of_the_reader(now, ahead, said):
    with timezone.override("Europe/Berlin"):
        html = due(now + ahead)
    assert words(html) == said
    assert f'title="{now + ahead:%Y-%m-%d %H:%M:%S} UTC"' in html


@pytest.mark.pure
def test_the_other_filters_agree(now):
    with timezone.override("Asia/Kolkata"):
        assert words(time_left(now + 89 * MINUTE)) == "in 1 h 29 min"
        assert words(time_left(now - MINUTE)) == "Expired at 16:23"
        assert words(ago(now - 89 * MINUTE)) == "1 h 29 min ago"
        assert words(ago(now - 59 * SECOND)) == "just now"
        assert words(moment(now + DAY)) == "Tue 16:24"
        assert words(exact(now)) == "2026-11-30 16:24:00 IST"


@pytest.mark.pure
@pytest.mark.parametrize(
    ("gone", "kind"), [(50, ""), (74, ""), (75, "o-soon"), (89, "o-soon"), (90, "o-urgent")]
)
def test_the_colour_is_that_of_the_share_of_time_that_is_left(now, gone, kind):
    since = now - gone * DAY
    assert f'class="{kind}"' in time_left(since + 100 * DAY, since)


def read_page(client, approval):
    return client.get(f"/admin/approvals_app/approval/{approval.pk}/change/").content.decode()


class TestWhoseClock:
    @pytest.fixture
    def approval(self, bot):
        return the_approval(TaskFactory(agent=bot))

    @pytest.fixture
    def show_time(self, client, alice, approval):
        """The hour of the deadline, as alice's page tells it."""
        client.force_login(alice)

        def read():
            html = read_page(client, approval)
            title = f'title="{approval.expires_at:%Y-%m-%d %H:%M:%S} UTC"'
            return re.search(rf"{title}[^>]*>Due [^<]*?(\d\d:\d\d) \(", html)[1]

        return read

    def at(self, approval, zone):
        with timezone.override(zone):
            return f"{timezone.localtime(approval.expires_at):%H:%M}"

    def test_the_one_that_the_person_chose(self, client, alice, approval, show_time):
        client.cookies["time_zone"] = "America/New_York"
        NoticeSettings.objects.create(person=alice, time_zone="Asia/Kolkata")
        assert show_time() == self.at(approval, "Asia/Kolkata")

    @pytest.mark.parametrize("cookie", ["Asia/Kathmandu", "Asia%2FKathmandu"])
    def test_else_that_of_the_browser(self, client, approval, show_time, cookie):
        client.cookies["time_zone"] = cookie
        assert show_time() == self.at(approval, "Asia/Kathmandu")

    @pytest.mark.parametrize("cookie", ["../../etc/passwd", "Nowhere/Land", "\x00", ""])
    def test_else_utc(self, client, approval, show_time, cookie):
        client.cookies["time_zone"] = cookie
        assert show_time() == self.at(approval, "UTC")

    def test_the_next_request_starts_anew(self, client, alice, approval, show_time):
        client.cookies["time_zone"] = "Asia/Kathmandu"
        show_time()
        assert timezone.get_current_timezone_name() == "UTC"


class TestTheTimesOfFacts:
    """In the reader's clock, with UTC on hover, wherever the summary is shown."""

    WRITTEN = '<time datetime="2026-11-24T08:00:00+00:00" title="2026-11-24 08:00:00 UTC">{}</time>'

    @pytest.fixture
    def approval(self, bot, client, alice):
        client.force_login(alice)
        NoticeSettings.objects.create(person=alice, time_zone="Asia/Kolkata")
        data = {"to": "b@example.com", "subject": "s", "text": "t", "send_at": "2026-11-24T08:00Z"}
        return the_approval(TaskFactory(agent=bot, data=data))

    def test_on_the_decision_page(self, client, approval):
        assert self.WRITTEN.format("2026-11-24 13:30:00 IST") in read_page(client, approval)

    def test_where_several_are_decided_together(self, client, approval):
        page = client.get(f"/admin/approvals_app/approval/bulk/?approval={approval.pk}")
        page = page.content.decode()
        assert self.WRITTEN.format("2026-11-24 13:30:00 IST") in page
