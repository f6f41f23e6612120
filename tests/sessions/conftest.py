from tests.commands.conftest import run  # noqa: F401  # a fixture
