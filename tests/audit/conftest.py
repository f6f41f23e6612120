"""Each test reads the database's epochs itself, since it may restore a trail.

The epochs are cached for the lifetime of the process; here they are forgotten before and after
each test.
"""

import pytest

from audit_app.live import event_log


@pytest.fixture(autouse=True)
def forget_epochs():
    event_log.epochs.forget()
    yield
    event_log.epochs.forget()
