"""Each test finds a trail of its own, which may have been restored."""

import pytest

from audit_app import tail


@pytest.fixture(autouse=True)
def eras_are_read_anew():
    tail.eras.forget()
    yield
    tail.eras.forget()
