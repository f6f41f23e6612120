"""The settings of a server whose password hashing a test holds up."""

from orchestrator.settings import *  # noqa: F403

PASSWORD_HASHERS = ["tests.accounts.hashers.Gated"]
