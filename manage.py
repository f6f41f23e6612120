#!/usr/bin/env python
"""The command line of a checkout: every management command starts here."""

import sys

from orchestrator.cli import run_management_command

if __name__ == "__main__":
    run_management_command(sys.argv)
