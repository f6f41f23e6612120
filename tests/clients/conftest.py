"""The server as operators run it, and agents that reach it through the client.

State of a whole module: the server, with its cached keys. Each test has its own clients and its
own proxy.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from orchestrator_client import AsyncClient, Client

from approvals_app.decisions import operations
from audit_app.base.actors import Actor
from sessions_app.models import Task
from tests.clients.proxy import between
from tests.factories import AgentFactory, find_approval
from tests.live.conftest import serving


@pytest.fixture(scope="module")
def server(django_db_setup, django_db_blocker, tmp_path_factory):
    place = tmp_path_factory.mktemp("server")
    with django_db_blocker.unblock(), serving(place) as server:
        yield server


@pytest.fixture
def proxy(server):
    with between(server.port) as proxy:
        yield proxy


@pytest.fixture
def aside():
    """``aside(function, …)``: a Future of what it returns."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


@pytest.fixture
def clerk():
    """Asks finance, and executes what finance approved."""
    return AgentFactory(name="clerk", roles=["finance"])


@pytest.fixture
def client(server, clerk):
    """The clerk's."""
    with Client(f"http://127.0.0.1:{server.port}", clerk.key) as client:
        yield client


@pytest.fixture
def through(proxy, clerk):
    """The clerk's, by way of the proxy."""
    with Client(f"http://127.0.0.1:{proxy.port}", clerk.key, patience=60) as client:
        yield client


@pytest.fixture
def asynchronous(server, clerk):
    """``asynchronous()``: an AsyncClient of the clerk's."""
    return lambda: AsyncClient(f"http://127.0.0.1:{server.port}", clerk.key)


def decide(task_id, by, verdict="approve", **given):
    """What ``by``, of finance, says of a task, by the operation."""
    approval = find_approval(Task.objects.get(pk=task_id), "finance")
    getattr(operations, verdict)(
        approval.pk, by=Actor.human(by), payload_digest=approval.payload_digest, **given
    )
