"""Conditions of policies: what they may ask, and that no payload can harm who judges it."""

import contextlib
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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals_app.policy import conditions
from approvals_app.policy.conditions import Condition, ConditionFailed, ConditionInvalid, Facts

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
REFUND = {
    "agent": "support-bot",
    "from_role": "support-agent",
    "to_role": "finance",
    "task_type": "refund_approval",
    "description": "Refund 249.90 EUR for order 2026-118204.",
    "data": {
        "amount": "249.90",
        "currency": "EUR",
        "lines": [{"sku": "ESP", "quantity": 1}, {"sku": "SHIP", "quantity": 2}],
        "tags": ["damaged", "first"],
        "count": 3,
        "share": 0.5,
        "express": False,
        "note": None,
        "delivered_at": "2026-11-06T10:12:00Z",
        "customer": {"id": "cus_1", "country": "AT"},
    },
    "context": {"model": "support-bot 3.2"},
}


def holds(text, **data):
    """Whether ``text`` holds for the refund, or for one with ``data`` instead of its own."""
    return Condition(text).holds(Facts({**REFUND, "data": data} if data else REFUND))


def why_it_fails(text, **data):
    with pytest.raises(ConditionFailed) as failure:
        holds(text, **data)
    return str(failure.value)


def why_it_is_none(text):
    with pytest.raises(ConditionInvalid) as refusal:
        Condition(text)
    return str(refusal.value)


def said_by(text, facts):
    """The answer or the reason for which there is none: nothing else is ever raised."""
    try:
        answer = Condition(text).holds(Facts(facts))
    except (ConditionInvalid, ConditionFailed) as reason:
        return str(reason)
    return {True: "it holds", False: "it does not hold"}[answer]


@pytest.fixture
def patient(monkeypatch):
    """A busy machine makes nothing late that isn't hostile."""
    monkeypatch.setattr(conditions, "TIME_LIMIT", 30.0)


@pytest.fixture
def fresh():
    """No evaluation was asked for yet in this process."""
    conditions._evaluator.stop()
    yield conditions._evaluator
    conditions._evaluator.stop()


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "double(data.amount) > 200.0",
        "double(data.amount) > 200",
        "data.currency == 'EUR'",
        'data.currency in ["EUR", "CHF"]',
        "data.count >= 3 && data.count < 4",
        "data.count > 2.5",
        "data.share == 0.5",
        "!data.express",
        "data.note == null",
        "data.count != '3'",
        "has(data.customer.country) && data.customer.country == 'AT'",
        "!has(data.iban)",
        "!has(data.amount) || double(data.amount) > 1.0",
        "has(data.iban) ? data.iban == 'AT61' : true",
        "'country' in data.customer",
        "'damaged' in data.tags",
        "size(data.lines) == 2",
        "data.lines.size() == 2",
        "data.lines[1].quantity == 2",
        "data['currency'] == 'EUR'",
        "data.currency.startsWith('EU') && data.currency.endsWith('R')",
        "description.contains('118204')",
        "description.matches('^Refund [0-9.]+ EUR')",
        "from_role == 'support-agent' && to_role == 'finance'",
        "agent == 'support-bot'",
        "task_type == 'refund_approval'",
        "context.model.startsWith('support-bot')",
        "timestamp(data.delivered_at) > timestamp('2026-11-01T00:00:00Z')",
        "timestamp(data.delivered_at).getDayOfWeek() == 5",
        "timestamp(data.delivered_at) - timestamp('2026-11-06T00:00:00Z') > duration('10h')",
        "int('12') + data.count == 15",
        "string(data.count) == '3'",
        "data.lines.all(line, line.quantity > 0)",
        "data.lines.exists(line, line.sku == 'SHIP')",
        "data.lines.exists_one(line, line.quantity == 2)",
        "data.lines.map(line, line.sku) == ['ESP', 'SHIP']",
        "data.lines.filter(line, line.quantity > 1).size() == 1",
        "data.tags.all(a, data.lines.exists(b, b.sku != a))",
        "data.customer.exists(key, key == 'id')",
        "true || data.nothing > 1",
        "data.nothing > 1 || true",
        "data.count > 1 // what is said of it",
    ],
)
def test_it_holds(text, patient):
    assert holds(text) is True
    assert holds(f"!({text.partition('//')[0]})") is False


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("data.iban == 'AT61'", "there is no iban."),
        ("data.beneficiary.country == 'AT'", "there is no beneficiary."),
        ("has(data.beneficiary.country)", "there is no beneficiary."),
        ("data.lines.all(line, line.price > 0)", "there is no price."),
        ("data.lines[7].quantity == 1", "index out of bounds: 7."),
        ("data.count", "it says neither true nor false."),
        ("data.note", "it says neither true nor false."),
        ("'true'", "it says neither true nor false."),
        ("data.lines.map(line, true)", "it says neither true nor false."),
        (
            "data.amount > 200",
            "No such overload: the operation is not defined",
        ),
        ("data.count / 0 == 1", "division by zero in CEL expression."),
        ("int(data.amount) > 200", "Function 'int' error: string parse error: invalid digit"),
        (
            "double(data.currency) > 1.0",
            "Function 'double' error: string parse error: invalid",
        ),
        ("size(data.count) == 1", "size can't be asked of what it was given."),
        ("data.count.startsWith('3')", "startsWith can't be asked of what it was given."),
        ("data.currency.matches('(')", "Function 'matches' error: '(' not a valid regex"),
        ("9223372036854775807 + data.count > 0", "Arithmetic overflow in 'add'"),
        ("data.lines.all(line, line.quantity > 0) && line == 1", "Undefined variable or function"),
    ],
)
def test_it_fails_and_says_why(text, why, patient):
    said = why_it_fails(text)
    assert said.startswith(why)
    assert said.endswith(".")
    assert said.isprintable()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Syntax error: mismatched input '<EOF>'."),
        ("data.amount >", "Syntax error: "),
        ("amount > 1", "there is no amount that it could ask for, but agent, context, data, "),
        ("task.amount > 1", "there is no task that it could ask for"),
        (".data.amount == '1'", "there is no .data that it could ask for"),
        ("type(data.count) == int", "there is no int that it could ask for"),
        ("now() > timestamp('2026-11-06T00:00:00Z')", "there is no function called now."),
        ("max(data.count, 1) == 3", "there is no function called max."),
        ("data.lines.sum() > 1", "there is no function called sum."),
        ("data.?note.orValue(1) == 1", "unsupported syntax '.?'."),
        ("99999999999999999999 > 1", "invalid int literal."),
        ("'\ud800' == data.note", "'utf-8' codec can't encode character"),
        ("data.note == '" + 2_000 * "x" + "'", "it is longer than 2,000 characters."),
        ("(" * 900 + "true" + ")" * 900, "it is nested too deeply."),
        ("[" * 900 + "1" + "]" * 900 + " == 1", "it is nested too deeply."),
        ("\0", "Syntax error: token recognition error at: '�'."),
    ],
)
def test_it_is_no_condition_and_says_why(text, why):
    said = why_it_is_none(text)
    assert said.startswith(why)
    assert said.endswith(".")
    assert said.isprintable()


@pytest.mark.parametrize("text", ["!" * 1_990 + "true", "-" * 1_990 + "1 == 1"])
def test_a_long_row_of_operators_is_evaluated(text):
    assert holds(text) is True


@pytest.mark.parametrize("name", sorted(conditions.FUNCTIONS))
def test_every_function_that_may_be_called_is_there(name, patient):
    asked = {
        **dict.fromkeys(["double", "int"], f"{name}('1') == {name}(1)"),
        **dict.fromkeys(["duration"], "duration('1h') == duration('60m')"),
        **dict.fromkeys(["string"], "string(1) == '1'"),
        **dict.fromkeys(["timestamp"], "timestamp('2026-11-06T00:00:00Z') != timestamp(agent)"),
        **dict.fromkeys(["size"], "size('abc') == 3"),
        **dict.fromkeys(["contains", "startsWith", "endsWith"], f"'a'.{name}('a')"),
        **dict.fromkeys(["matches"], "'a'.matches('^a$')"),
    }.get(name, f"timestamp('2026-11-06T10:12:13Z').{name}() > 0")
    facts = {**REFUND, "agent": "2026-11-07T00:00:00Z"}
    assert Condition(asked).holds(Facts(facts)) is True


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text("data.nlistm[]().&|!=<>'\"19ex ,{}:?+-*/%", max_size=60))
def test_any_text_is_a_condition_with_an_answer_or_says_why_not(text):
    assert said_by(text, REFUND).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
ASKED = ["data.x == 1", "data.x.all(i, i == 1)", "size(data.x) > 1 || data.x > 1", "data.x"]


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(JSON, st.sampled_from(ASKED))
def test_no_payload_gets_anything_but_an_answer_or_a_failure(patient, value, text):
    assert said_by(text, {**REFUND, "data": {"x": value}}).isprintable()


LOOKED_AT = ["data.x == 'a'", "[data.x].exists(x, x == 'a')"]
"""The first is evaluated here, the second in the process beside."""


@pytest.mark.parametrize("text", LOOKED_AT)
@pytest.mark.parametrize("value", [2**63, -(2**63), 2**64, -(2**64), 10**40, "a\0", "\0", "é", "b"])
def test_what_is_odd_but_json_is_compared(text, value, patient):
    assert holds(text, x=value) is False


@pytest.mark.parametrize("text", LOOKED_AT)
@pytest.mark.parametrize("value", ["\ud800", "a\udfff", {"\ud800": 1}, 10**400], ids=ascii)
def test_what_cannot_be_carried_over_fails(text, value, patient):
    assert "Failed to convert" in why_it_fails(text, x=value)


@pytest.mark.parametrize(
    ("number", "text", "answer"),
    [
        (2**53 - 1, "data.x == 9007199254740991", True),
        (2**63 - 1, "data.x == 9223372036854775807", True),
        (2**63, "data.x == 9223372036854775808u", True),
        (2**63, "data.x > 9223372036854775807", True),
        (2**65, "data.x > 18446744073709551615u", True),
        (-(2**63), "data.x < 0", True),
        (-(2**64), "data.x < 0", True),
        (10**40, "data.x < 0", False),
    ],
)
def test_a_large_number_stays_large_and_keeps_its_sign(number, text, answer, patient):
    assert holds(text, x=number) is answer
    assert holds(f"[0].all(i, {text})", x=number) is answer


@pytest.mark.parametrize("text", LOOKED_AT)
def test_a_payload_nested_beyond_reason_has_no_way_out_but_an_answer(text, patient):
    nested = "a"
    for _ in range(3_000):
        nested = [nested]
    with contextlib.suppress(ConditionFailed):
        assert holds(text, x=nested) is False


def test_what_is_no_json_fails(patient):
    assert why_it_fails("data.x.all(i, i == 1)", x=[object()]) == "the task is not plain JSON."
    assert "Failed to convert" in why_it_fails("data.x == 1", x=object())


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("data.count > 1", ["data", "data.count"]),
        ("has(data.iban) || data . count > 1", ["data", "data.count", "data.iban"]),
        ("data.customer.country == context.model", "context context.model data data.customer"),
        ("description == agent", ["agent", "description"]),
        ("data.note == 'data.secret'", ["data", "data.note", "data.secret"]),
        # Where it is not plain what is asked for, all is.
        ("data['count'] > 1", ["data"]),
        ("'count' in data", ["data"]),
        ("data[agent] > 1", ["agent", "data"]),
        ("size(data) > 1", ["data"]),
        ("data.size() > 1", ["data"]),
        ("data.count > 1 && size(data) > 1", ["data"]),
        ("data.all(key, key != 'iban')", ["data"]),
        ("data.exists // it's\n (agent, agent == 'iban')", ["agent", "data"]),
        ("data // it's\n .count > 1", ["data"]),
        ("data == context", ["context", "data"]),
        ("data.lines.all(data, data.quantity > 0)", ["data"]),
        ("{'a': data}.a.count > 1", ["data"]),
        ("data.note == 'data'", ["data"]),
        ('r"\\" == data.note || data.iban == "x" || "y" == "z"', "data data.iban data.note"),
    ],
)
def test_it_needs_what_it_asks_for_and_no_more(text, asked, patient):
    condition = Condition(text)
    assert sorted(condition.needs) == (asked.split() if isinstance(asked, str) else asked)
    facts = {**REFUND, "data": {**REFUND["data"], "iban": "AT61"}}
    assert said_by(text, facts) == said_by(f"data == data && ({text}\n)", facts)


def test_what_a_condition_does_not_ask_for_is_not_carried_over(patient):
    odd = {"count": 1, "rest": object()}
    assert holds("data.count == 1", **odd) is True
    assert holds("[1].all(i, i == data.count)", **odd) is True
    assert "Failed to convert" in why_it_fails("size(data) == 2", **odd)
    assert why_it_fails("data.all(key, key != 'x')", **odd) == "the task is not plain JSON."


@pytest.mark.parametrize("data", [None, [], "text", 1])
def test_data_that_is_no_object_has_no_members(data, patient):
    facts = {**REFUND, "data": data}
    assert said_by("data.count == 1", facts) not in ("it holds", "it does not hold")
    assert said_by("data == data", facts) == "it holds"


HOSTILE = {"items": list(range(3_000)), "words": "x" * 200_000}
SLOW = "data.items.all(i, data.items.all(j, data.items.all(k, i + j + k >= 0)))"


@pytest.mark.parametrize(
    "text",
    [
        SLOW,
        "data.items.exists(i, data.items.exists(j, data.items.exists(k, i + j + k < 0)))",
        "data.items.map(i, data.items.map(j, data.items.map(k, i))).size() > 0",
        "data.items.filter(i, data.items.map(j, data.words + 'y').size() < 0).size() > 0",
        "data.items.all(i, data.words.matches('(x+x+)+y') || true)",
        "data.items.map(i, data.words.matches(data.words)).size() == 0",
        # What hides the loop from a glance is found all the same.
        SLOW.replace(".all(", ".all (").replace("data.items", "data . items"),
        SLOW.replace("data.items", "data.items\n"),
        SLOW.replace("all(i, ", "all // it's\n (agent, ", 1).replace("i +", "agent +"),
        """r"\\" == data.words || data.items.all(agent, data.items.all(context,
        data.items.all(to_role, agent + context + to_role >= 0))) && "x" == "x" """,
    ],
)
def test_a_hostile_payload_ends_as_a_failure(text, fresh):
    said = why_it_fails(text, **HOSTILE)
    assert said in ("it took longer than 0.25 s.", "its evaluation broke off.")


def test_after_a_hostile_payload_the_next_is_evaluated(fresh, monkeypatch):
    assert why_it_fails(SLOW, **HOSTILE) == "it took longer than 0.25 s."
    assert fresh._process is None
    monkeypatch.setattr(conditions, "TIME_LIMIT", 30.0)
    assert holds("data.lines.all(line, line.quantity > 0)") is True


@pytest.mark.parametrize(
    "text",
    [
        "data.lines.all(line, true)",
        "data.lines.exists(line, true)",
        "data.lines.exists_one(line, line.quantity == 2)",
        "data.lines.map(line, line).size() == 2",
        "data.lines.filter(line, true).size() == 2",
        "data.currency.matches('^E')",
        "data.lines . all (agent, true)",
        "data.lines.all // it's what it is\n (agent, true)",
        'r"\\" != agent && data.lines.all(agent, true) || "x" == "y"',
    ],
)
def test_whatever_loops_or_searches_is_evaluated_beside(text, fresh, patient):
    assert holds(text) is True
    assert fresh._process is not None


def test_what_does_not_loop_needs_no_process(fresh):
    assert holds("double(data.amount) > 200.0 && 'damaged' in data.tags") is True
    assert fresh._process is None


def test_the_process_serves_more_than_one_condition(fresh, patient):
    assert holds("data.lines.all(line, line.quantity > 0)") is True
    served_by = fresh._process.pid
    assert holds("data.lines.all(line, line.quantity > 1)") is False
    assert why_it_fails("data.lines.all(line, line.price > 1)") == "there is no price."
    assert fresh._process.pid == served_by


def test_a_payload_larger_than_a_pipe_arrives_whole(fresh, patient):
    words = [f"word {number}" for number in range(100_000)]
    assert holds("data.x.exists(word, word == 'word 99999')", x=words) is True
    assert holds("data.x.exists(word, word == 'word 100000')", x=words) is False


def test_a_process_that_was_killed_meanwhile_is_started_again(fresh, patient):
    assert holds("data.lines.all(line, line.quantity > 0)") is True
    killed = fresh._process
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
    assert holds("data.lines.all(line, line.quantity > 0)") is True
    assert fresh._process.pid != killed.pid


def test_a_process_that_is_killed_at_work_fails_that_one_alone(fresh, patient, monkeypatch):
    assert holds("data.lines.all(line, line.quantity > 0)") is True
    at_work, exchange, begun = fresh._process, fresh._exchange, threading.Event()

    def signal_and_exchange(*asked):
        begun.set()
        return exchange(*asked)

    monkeypatch.setattr(fresh, "_exchange", signal_and_exchange)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(why_it_fails, SLOW, **HOSTILE)
        assert begun.wait(60)
        at_work.kill()
        assert asked.result() == "its evaluation broke off."
    assert holds("data.lines.all(line, line.quantity > 0)") is True


def test_who_interrupts_an_evaluation_does_not_leave_its_answer_to_the_next(
    fresh, patient, monkeypatch
):
    assert holds("data.lines.all(line, line.quantity > 0)") is True

    def interrupt_after_writing(process, request, limit):
        os.write(process.stdin.fileno(), request)
        raise KeyboardInterrupt

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(fresh, "_exchange", interrupt_after_writing)
        with pytest.raises(KeyboardInterrupt):
            holds("[true].all(yes, yes)")
    assert holds("[false].all(yes, yes)") is False


def test_eight_threads_each_get_their_own_answer(fresh, patient):
    ready = threading.Barrier(8)

    def ask(number):
        ready.wait()
        text = f"data.items.exists(i, i == {number})"
        return [holds(text, items=[other]) for other in range(25)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers == [[other == number for other in range(25)] for number in range(8)]


def test_one_threads_hostile_payload_costs_no_other_its_answer(fresh):
    ready = threading.Barrier(8)

    def ask(number):
        ready.wait()
        if number % 4 == 0:
            return why_it_fails(SLOW, **HOSTILE)
        return holds("double(data.amount) > 200.0")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers == [
        "it took longer than 0.25 s." if number % 4 == 0 else True for number in range(8)
    ]


def test_it_works_where_thousands_of_files_are_open(fresh, patient):
    least = 1_100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < least + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (least + 100, hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(least)]
    try:
        assert holds("data.lines.all(line, line.quantity > 0)") is True
        assert fresh._process.stdout.fileno() > 1_024
    finally:
        for number in opened:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def run(program):
    """``program`` in an interpreter of its own, with ``yes()``, which loops, at hand."""
    beginning = """
        import os, signal, threading
        from approvals_app.policy import conditions
        conditions.TIME_LIMIT = 30.0
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
        parents = conditions._evaluator._process.pid
        child = os.fork()
        if not child:
            assert conditions._evaluator._process is None
            assert yes()
            assert conditions._evaluator._process.pid != parents
            conditions._evaluator.stop()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert yes()
        assert conditions._evaluator._process.pid == parents
        print("both answered")
    """)
    assert (done.stdout, done.returncode) == ("both answered\n", 0), done.stderr


def test_a_fork_in_the_middle_of_another_threads_evaluation_does_not_wait_for_it():
    done = run("""
        assert yes()
        conditions._evaluator._lock.acquire()  # as another thread would, which is not in the child
        child = os.fork()
        if not child:
            signal.alarm(30)
            assert yes()
            conditions._evaluator.stop()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        print("it answered")
    """)
    assert (done.stdout, done.returncode) == ("it answered\n", 0), done.stderr


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="tells when a stranger's child ends")
@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_process_ends_with_the_one_that_began_it(end):
    done = run(f"""
        assert yes()
        print(conditions._evaluator._process.pid, flush=True)
        {end}
    """)
    assert done.returncode == (-signal.SIGKILL if end else 0), done.stderr
    assert has_ended(int(done.stdout))


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
