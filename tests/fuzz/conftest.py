"""Tests that schemathesis makes are told apart by the operation that they call.

Nothing here outlives collection. test_published_schema.py keeps one connection for all its
requests.
"""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test of an operation its own id.

    Under pytest 9, schemathesis 4.32 gives all of them one, and xdist would run one of them.
    """
    for item in items:
        label = getattr(item, "operation_label", None)
        if label is not None and item.id.params is None:
            item._id = item.id.with_params(label)
