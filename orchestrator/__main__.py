"""``python -m orchestrator`` is the console script ``orchestrator``."""

from orchestrator.cli import main

main()
