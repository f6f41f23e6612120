"""To be written."""

from approvals_app.payload.facts import Data, Path, Reading


def read(data: Data, path: Path) -> Reading | None:
    """None."""
    return None
