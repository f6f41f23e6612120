"""Exactly one approval gate is registered, and nothing starts without it."""

import subprocess
import sys

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from sessions_app import gate
from tests.serving import ROOT, on_the_tests_database


@pytest.fixture
def no_gate(monkeypatch):
    """As if no app had registered a gate."""
    monkeypatch.setattr(gate, "_registered", [])


def test_a_gate_is_registered_at_start():
    assert not [error for error in run_checks() if error.id == "sessions_app.E001"]


def test_a_missing_gate_stops_every_command_in_a_plain_sentence(no_gate):
    with pytest.raises(SystemCheckError, match="No approval gate is registered"):
        call_command("check")


def test_a_missing_gate_stops_whoever_asks_for_it(no_gate):
    with pytest.raises(ImproperlyConfigured, match="No approval gate is registered"):
        gate.approval_gate()


def test_a_second_gate_is_refused():
    with pytest.raises(ImproperlyConfigured, match="exactly one"):
        gate.register(gate.approval_gate())


WITHOUT_A_GATE = """
from approvals_app.apps import ApprovalsConfig
ApprovalsConfig.ready = lambda self: None
import orchestrator.asgi
"""


def test_a_missing_gate_stops_the_server():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_GATE],
        cwd=ROOT,
        env=on_the_tests_database(0),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "No approval gate is registered" in done.stderr
