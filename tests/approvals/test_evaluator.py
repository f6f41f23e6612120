"""Conditions that may take long: no payload harms the server or anybody else's task."""

import os
import resource
import select
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from approvals_app.policy import conditions, evaluator
from approvals_app.policy.conditions import Facts
from approvals_app.policy.evaluator import EVALUATOR, MOST_IDLE
from approvals_app.policy.runtime import ConditionFailed
from tests.approvals.test_conditions import REFUND, holds, reason_it_fails
from tests.awaiting import until

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
LOOPS = "data.lines.all(line, line.quantity > 0)"
HOSTILE = {"items": list(range(3_000)), "words": "x" * 200_000}
SLOW = "data.items.all(i, !data.words.matches('(x+x+)+y'))"
LATE = "it took too long."


@pytest.fixture
def fresh():
    """Nothing was evaluated beside yet."""
    EVALUATOR.stop()
    yield EVALUATOR
    EVALUATOR.stop()


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (SLOW, [LATE]),
        ("data.items.all(i, data.words.upperAscii().lowerAscii() != 'x')", [LATE]),
        ("data.items.map(i, data.words + 'y').size() < 0", [LATE, "it needs too much memory."]),
        ("lists.range(data.items.size() * 1000000).size() < 0", ["it needs too much memory."]),
        (
            "data.items.all(i, data.items.all(j, data.items.all(k, i + j + k >= 0)))",
            ["it loops more than 10,000 times."],
        ),
        ("data.items.map(i, data.words.matches(data.words)).size() == 0", [LATE]),
    ],
)
def test_a_hostile_payload_ends_as_a_failure(text, reasons, fresh):
    said = reason_it_fails(text, **HOSTILE)
    assert said in [*reasons, "its evaluation broke off."]


def test_after_a_hostile_payload_the_next_is_evaluated(fresh, request):
    holds(LOOPS)
    used = fresh.pids[-1]
    assert reason_it_fails(SLOW, **HOSTILE) == LATE
    assert used not in fresh.pids
    request.getfixturevalue("patient")
    assert holds(LOOPS) is True


class PaidBy(dict):
    """Facts of a task of an agent."""

    def __init__(self, payer, data):
        super().__init__(REFUND | {"data": data})
        self.payer = payer


def fails(payer, data):
    with pytest.raises(ConditionFailed) as failure:
        conditions.Condition(SLOW).holds(Facts(PaidBy(payer, data)))
    return str(failure.value)


def test_an_agent_whose_payloads_were_hostile_has_less_time_and_enough(fresh, patient):
    loops = conditions.Condition(LOOPS)
    limits = [fresh._allowance.get_limit("mallory")]
    for _ in range(4):
        assert fails("mallory", HOSTILE) == LATE
        limits.append(fresh._allowance.get_limit("mallory"))
        assert loops.holds(Facts(PaidBy("mallory", REFUND["data"]))) is True
    assert limits[0] == evaluator.CPU_LIMIT
    assert max(limits[1:]) < evaluator.CPU_LIMIT / 2
    assert fresh._allowance.get_limit("alice") == evaluator.CPU_LIMIT
    assert fails("", HOSTILE) == LATE
    assert fresh._allowance.get_limit("") == evaluator.CPU_LIMIT


def test_less_time_is_less_for_all_conditions_of_a_task(fresh, monkeypatch):
    monkeypatch.setattr(conditions, "TASK_LIMIT", 0.15)
    now = [100.0]
    fresh._allowance = evaluator.Allowance(clock=lambda: now[0])
    fresh._allowance.charge("mallory", evaluator.CPU_LIMIT)
    facts = Facts(PaidBy("mallory", HOSTILE))
    reasons = []
    for number in range(20):
        with pytest.raises(ConditionFailed) as failure:
            conditions.Condition(f"{SLOW} && {number} > 0").holds(facts)
        reasons.append(str(failure.value))
    assert reasons[0] == LATE
    assert set(reasons[2:]) == {"the task's conditions took longer than 0.015 s."}


def test_what_was_slow_is_forgotten_with_time():
    now = [100.0]
    allowance = evaluator.Allowance(clock=lambda: now[0])
    for _ in range(1_000):
        allowance.charge("mallory", 0.1)
    allowance.charge("polite", evaluator.PATIENCE / 2)
    assert allowance.get_limit("polite") == evaluator.CPU_LIMIT
    assert allowance.get_limit("mallory") == evaluator.LEAST_CPU_LIMIT
    now[0] += 7.5
    assert allowance.get_limit("mallory") == pytest.approx(0.05)
    now[0] += 2.5
    assert allowance.get_limit("mallory") == evaluator.CPU_LIMIT


def test_no_number_of_agents_fills_the_memory():
    now = [100.0]
    allowance = evaluator.Allowance(clock=lambda: now[0])
    for number in range(3 * evaluator.MOST_KEPT):
        now[0] += 0.01
        allowance.charge(f"agent {number}", 0.1)
    assert len(allowance._debts) <= evaluator.MOST_KEPT


def test_a_task_has_a_limit_for_all_its_conditions(fresh, monkeypatch):
    monkeypatch.setattr(conditions, "TASK_LIMIT", 0.15)
    facts = Facts(REFUND | {"data": HOSTILE})
    reasons = []
    for number in range(5):
        with pytest.raises(ConditionFailed) as failure:
            conditions.Condition(f"{SLOW} && {number} > 0").holds(facts)
        reasons.append(str(failure.value))
    assert reasons[0] == LATE
    assert reasons[2:] == ["the task's conditions took longer than 0.15 s."] * 3


@pytest.mark.parametrize(
    "text",
    [
        LOOPS,
        "data.lines.exists_one(line, line.quantity == 2)",
        "data.lines.map(line, line).size() == 2",
        "data.currency.matches('^E')",
        "data.currency.lowerAscii() == 'eur'",
        "data.tags.join() == 'damagedfirst'",
        "data.lines . all (agent, true)",
        " + ".join(["data.currency"] * 12) + " != 'x'",
    ],
)
def test_what_may_take_long_is_evaluated_beside(text, fresh, patient):
    assert holds(text) is True
    assert fresh.pids


def test_a_large_payload_is_evaluated_beside(fresh, patient):
    assert holds("data.x == 'a'", x="a", y="b" * 100_000) is True
    assert not fresh.pids
    assert holds("data.x == 'a' && data.y != 'a'", x="a", y="b" * 100_000) is True
    assert fresh.pids


def test_what_does_not_loop_needs_no_process(fresh):
    assert holds("double(data.amount) > 200.0 && 'damaged' in data.tags") is True
    assert holds("cel.bind(x, data.currency, x == 'EUR' && x != 'CHF')") is True
    assert not fresh.pids


def test_the_process_serves_more_than_one_condition(fresh, patient):
    assert holds(LOOPS) is True
    served_by = fresh.pids
    assert holds("data.lines.all(line, line.quantity > 1)") is False
    assert reason_it_fails("data.lines.all(line, line.price > 1)") == "there is no price."
    assert fresh.pids == served_by


def test_the_same_facts_serve_several_conditions_and_no_others(fresh, patient):
    first, second = (Facts(REFUND | {"data": {"x": [number]}}) for number in (1, 2))
    condition = conditions.Condition("data.x.exists(each, each == 1)")
    again = conditions.Condition("data.x.all(each, each == 1)")
    assert condition.holds(first) is True
    assert again.holds(first) is True
    assert again.holds(second) is False
    assert condition.holds(second) is False


def test_a_payload_larger_than_a_pipe_arrives_whole(fresh, patient):
    words = [f"word {number}" for number in range(9_000)]
    words[-1] += "y" * 200_000
    assert holds("data.x.exists(word, word.endsWith('yy'))", x=words) is True
    assert holds("data.x.exists(word, word == 'word 10000')", x=words) is False


def test_a_process_that_was_killed_meanwhile_is_started_again(fresh, patient):
    assert holds(LOOPS) is True
    killed = fresh._idle[-1]
    os.kill(killed.pid, signal.SIGKILL)
    until(killed.has_ended)
    assert holds(LOOPS) is True
    assert killed.pid not in fresh.pids


def test_a_process_that_is_killed_at_work_fails_that_one_alone(fresh, patient, monkeypatch):
    assert holds(LOOPS) is True
    monkeypatch.setattr(evaluator, "CPU_LIMIT", 30.0)
    at_work, begun = fresh._idle[-1], threading.Event()
    exchange = at_work._exchange

    def signal_and_exchange(*arguments):
        begun.set()
        return exchange(*arguments)

    monkeypatch.setattr(at_work, "_exchange", signal_and_exchange)
    with ThreadPoolExecutor(1) as pool:
        reason = pool.submit(reason_it_fails, SLOW, **HOSTILE)
        assert begun.wait(60)
        os.kill(at_work.pid, signal.SIGKILL)
        assert reason.result() == "its evaluation broke off."
    assert holds(LOOPS) is True


def test_who_interrupts_an_evaluation_does_not_leave_its_answer_to_the_next(
    fresh, patient, monkeypatch
):
    assert holds(LOOPS) is True
    worker = fresh._idle[-1]

    def interrupt_after_writing(request, *limits):
        worker._connection.send(request)
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "_exchange", interrupt_after_writing)
    with pytest.raises(KeyboardInterrupt):
        holds("[true].all(yes, yes || agent == '')")
    assert holds("[false].all(yes, yes && agent == '')") is False


def test_eight_threads_each_get_their_own_answer(fresh, patient):
    ready = threading.Barrier(8)

    def ask(number):
        ready.wait()
        text = f"data.items.exists(i, i == {number})"
        return [holds(text, items=[other]) for other in range(25)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers == [[other == number for other in range(25)] for number in range(8)]
    assert len(fresh.pids) <= MOST_IDLE


def test_a_hostile_payload_keeps_nobody_else_waiting(fresh, patient, monkeypatch):
    monkeypatch.setattr(evaluator, "CPU_LIMIT", 30.0)
    entered = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        take = fresh._take

        def take_and_tell():
            worker = take()
            entered.set()
            return worker

        fresh._take = take_and_tell
        try:
            late = pool.submit(reason_it_fails, f"{SLOW} || data.nothing", **HOSTILE)
            assert entered.wait(60)
            assert holds(LOOPS) is True
            assert not late.done()
        finally:
            del fresh._take


def test_a_slow_evaluation_leaves_the_processor_to_others(fresh, patient, monkeypatch):
    priorities = []
    setpriority = os.setpriority

    def note(which, pid, priority):
        setpriority(which, pid, priority)
        priorities.append(os.getpriority(which, pid))

    monkeypatch.setattr(os, "setpriority", note)
    assert reason_it_fails(SLOW, **HOSTILE) == LATE
    assert priorities == [19]


def test_a_nursery_that_was_killed_is_started_again(fresh, patient):
    assert holds(LOOPS) is True
    os.killpg(fresh._nursery._process.pid, signal.SIGKILL)
    until(lambda: all(worker.has_ended() for worker in fresh._idle))
    assert holds(LOOPS) is True


def test_workers_are_forked_quickly_and_leave_no_zombies(fresh, patient):
    assert holds(LOOPS) is True
    nursery = fresh._nursery._process.pid
    for _ in range(20):
        fresh._idle.pop().stop()
        assert holds(LOOPS) is True
    children = Path(f"/proc/{nursery}/task/{nursery}/children").read_text().split()
    assert set(map(int, children)) == set(fresh.pids)


def test_it_works_where_thousands_of_files_are_open(fresh, patient):
    least = 1_100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < least + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (least + 100, hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(least)]
    try:
        assert holds(LOOPS) is True
        assert fresh._idle[0]._connection.fileno() > 1_024
    finally:
        for number in opened:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def run(program):
    """``program`` in an interpreter of its own, with ``yes()``, which loops, at hand."""
    beginning = """
        import os, signal, threading
        from approvals_app.policy import conditions, evaluator
        evaluator.TIME_LIMIT = conditions.TASK_LIMIT = 30.0
        EVALUATOR = evaluator.EVALUATOR
        facts = dict.fromkeys(conditions.VARIABLES, "") | {"data": {"items": [1, 2]}}
        def yes():
            return conditions.Condition("data.items.all(i, i > 0)").holds(conditions.Facts(facts))
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(beginning) + textwrap.dedent(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_forked_server_process_has_an_evaluator_of_its_own():
    done = run("""
        assert yes()
        parents = EVALUATOR.pids
        child = os.fork()
        if not child:
            assert not EVALUATOR.pids
            assert yes()
            assert EVALUATOR.pids != parents
            EVALUATOR.stop()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert yes()
        assert EVALUATOR.pids == parents
        print("both answered")
    """)
    assert (done.stdout, done.returncode) == ("both answered\n", 0), done.stderr


def test_a_fork_in_the_middle_of_another_threads_evaluation_does_not_wait_for_it():
    done = run("""
        assert yes()
        EVALUATOR._lock.acquire()  # as another thread would, which is not in the child
        child = os.fork()
        if not child:
            signal.alarm(30)
            assert yes()
            EVALUATOR.stop()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        print("it answered")
    """)
    assert (done.stdout, done.returncode) == ("it answered\n", 0), done.stderr


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="tells when a stranger's child ends")
@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_processes_end_with_the_one_that_began_it(end):
    done = run(f"""
        assert yes()
        print(*EVALUATOR.pids, flush=True)
        {end}
    """)
    assert done.returncode == (-signal.SIGKILL if end else 0), done.stderr
    assert all(has_ended(int(pid)) for pid in done.stdout.split())


def has_ended(pid):
    """Whether the process, which isn't ours to wait for, ends within a minute."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return select.select([handle], [], [], 60)[0] == [handle]
    finally:
        os.close(handle)
