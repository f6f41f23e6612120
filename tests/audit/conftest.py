"""Each test finds a trail of its own, which may have been restored."""

import pytest

from audit_app.live import event_log


@pytest.fixture(autouse=True)
def eras_are_read_anew():
    event_log.epochs.forget()
    yield
    event_log.epochs.forget()
