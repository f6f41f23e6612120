"""Requests made up from the published schema, valid and not: every answer is one that it foresees.

The short run is part of the suite. ``make fuzz`` is the same with FUZZ_REQUESTS requests at least,
different ones each time; what fails there is printed with its request.
"""

import logging
import os
from collections.abc import Iterator
from copy import deepcopy
from random import getrandbits
from typing import Any

import pytest
import schemathesis
from django.core.management import call_command
from django.core.signals import request_finished
from django.db import close_old_connections
from django.test import override_settings
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import Case, Response
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from orchestrator.wsgi import application
from tests.client import schema as published
from tests.fuzz.world import PLACES, World

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "0"))
SHORT = 15
"""Random requests to each operation in the short run, beside some fifty at the schema's bounds."""

CONFIG = {
    # The callers bring keys and cookies of their own.
    "generation": {"with-security-parameters": False},
    "checks": {
        # A version that If-Match names and that is none is refused as stale.
        "negative_data_rejection": {
            "expected-statuses": [400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 422]
        },
        # What the schema allows is done, or refused for who asks and what is there; never as
        # malformed, but for what no schema can say (BEYOND).
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", 304, 401, 403, 404, 409, 410, 412, 415, 429]
        },
    },
}


BEYOND = (
    "This Idempotency-Key was used with another request.",
    "is beyond 2^53 - 1, where readers round",
    "The answer is not valid",
    "This task is a question; approving it requires an answer.",
    "The schema of the question is not supported",
    "This cursor is not one of this list's.",
    "This cursor is not one of the trail's.",
    "can't be held exactly by a double",
    "It must be one line of visible characters",
    "A text can't hold the character NUL.",
    "Another one has the same key.",
    "X-Session-Id does not name a session of the caller.",
)
"""What JSON Schema can't say of a request, by the words of the refusal."""


def validate(case: Case, response: Response, **given: Any) -> None:
    """Every check; whether valid data is accepted is not asked of what no schema can refuse, nor of
    a case that is called valid although a part of it says that it is not; and a task of a batch is
    refused by itself, in an answer that is 200."""
    if case.formatted_path in LITERAL and case.formatted_path != case.path:
        # An id that is another route's name: what that route says of the method.
        assert response.status_code < 500
        return
    beyond = response.status_code in (400, 422) and any(words in response.text for words in BEYOND)
    mixed = case.meta is not None and any(case.meta.is_negative_at(part) for _, part in PLACES)
    excluded = [positive_data_acceptance] if beyond or mixed else []
    if case.path == "/tasks/route:batch" and response.status_code == 200:
        told = [part["status"] for part in response.json()["results"]]
        excluded += [negative_data_rejection] if {400, 422} & set(told) else []
    case.validate_response(response, excluded_checks=excluded, **given)


# A copy, since schemathesis writes the links that it infers into the document it is given.
schema = schemathesis.openapi.from_dict(
    deepcopy(published()), config=schemathesis.Config.from_dict(CONFIG)
)
schema.app = application
LITERAL = {path for path in published()["paths"] if "{" not in path}
OPERATIONS = sum(1 for _ in schema.get_all_operations())
EXAMPLES = max(SHORT, -(-REQUESTS // OPERATIONS))


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """One connection for all requests, as in Django's test client, and no line for each."""
    log = logging.getLogger("orchestrator.requests")
    request_finished.disconnect(close_old_connections)
    log.setLevel(logging.WARNING)
    yield
    log.setLevel(logging.NOTSET)
    request_finished.connect(close_old_connections)


@pytest.fixture
def world(database: None, request: pytest.FixtureRequest) -> Iterator[World]:
    """The world, and after all requests a look at its trail: it is whole."""
    failed_before = request.session.testsfailed
    with override_settings(RATE_LIMIT_PER_MINUTE=0, ADDRESS_LIMIT_PER_MINUTE=0):
        yield (world := World())
    answers = f"{world.sent.total()} requests: {dict(world.sent.most_common())}"
    request.node.add_report_section("teardown", "answers", answers)
    call_command("verify_audit")
    if request.session.testsfailed == failed_before:
        assert world.sent.total() >= EXAMPLES


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=not REQUESTS,
    print_blob=True,
    # Nothing is made smaller: the world that a request met is another one by then.
    phases=(Phase.explicit, Phase.generate),
    # The world is meant to be one for all requests of a test, and to grow with them.
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_schema_foresees(case: Case, world: World) -> None:
    response = world.send(case)
    validate(case, response, headers=world.said.get("headers"))


def test_no_order_of_requests_leads_out_of_the_schema(world: World) -> None:
    """Requests that go on from each other's answers, as links between operations say."""

    class Linked(schema.as_state_machine()):  # type: ignore[misc]  # made from the schema
        def call(self, case: Case, **_: object) -> Response:
            return world.send(case)

        def validate_response(self, response: Response, case: Case, *_: object) -> None:
            said = world.said.get("headers")
            validate(case, response, headers=said, recorder=self.recorder)

    # Each order is a run of its own: the world has changed since the one before, which hypothesis
    # would take for a strategy that can't make up its mind.
    for number in range(300 if REQUESTS else SHORT):
        run_state_machine_as_test(
            seed(number if not REQUESTS else getrandbits(32))(Linked),
            settings=settings(
                max_examples=1,
                stateful_step_count=20,
                deadline=None,
                database=None,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            ),
        )
