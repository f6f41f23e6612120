"""The errors that operations on upstreams and on their calls raise."""

from audit_app.base.errors import Conflict, Forbidden


class UpstreamAdministratorsOnly(Forbidden):
    """Only an administrator can add or change upstreams."""


class UpstreamNameTaken(Conflict):
    """An upstream named {name} already exists."""


class UpstreamDisabled(Conflict):
    """The upstream {name} is disabled."""


class CallUnreadable(Conflict):
    """What was approved is no call of a tool any more: {reason}"""
