"""Writers of one session do not lose each other's notes."""

from functools import partial

from audit_app.models import Event
from sessions_app import operations
from sessions_app.models import AgentSession
from tests.factories import SessionFactory
from tests.races.together import together


def test_eight_writers_each_keep_their_key(bot):
    session = SessionFactory(agent=bot)

    def write(writer):
        for step in range(5):
            operations.update_session(
                session.pk, by=bot.as_actor(), metadata={f"writer-{writer}": {str(step): step}}
            )

    together([partial(write, writer) for writer in range(8)])

    steps = {str(step): step for step in range(5)}
    kept = AgentSession.objects.get(pk=session.pk)
    assert kept.metadata == {f"writer-{writer}": steps for writer in range(8)}
    assert kept.version == 41
    seqs = Event.objects.filter(subject_id=session.pk).values_list("seq", flat=True)
    assert list(seqs) == list(range(1, 42))


def test_of_eight_writers_with_the_same_version_one_wins(api, bot):
    session = SessionFactory(agent=bot)
    calls = [
        partial(
            api(bot).put,
            f"/sessions/{session.pk}",
            {"metadata": {"winner": writer}},
            {"If-Match": '"1"'},
        )
        for writer in range(8)
    ]
    answers = together(calls)

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    won = next(answer for answer in answers if answer.status_code == 200)
    assert AgentSession.objects.get(pk=session.pk).metadata == won.json()["metadata"]
