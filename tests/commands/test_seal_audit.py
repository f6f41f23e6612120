"""Sealing by hand and by the worker, and what was sealed held against a kept checkpoint."""

import pytest

from audit_app.models import Checkpoint, LogEpoch
from audit_app.proof import sealing
from tests.awaiting import until
from tests.commands.conftest import expect_failure
from tests.commands.test_schedule import worker
from tests.database import without_guards
from tests.factories import TaskFactory
from tests.trail import wait_until_stable


def test_it_seals_what_waits(bot, run):
    TaskFactory(agent=bot)
    wait_until_stable()
    events = sealing.count_not_sealed()
    assert run("seal_audit", "--dry-run") == {"events": events, "dry_run": True}
    assert not Checkpoint.objects.exists()
    done = {"events": events, "dry_run": False, "stopped": False}
    assert run("seal_audit", "--batch-size", "2") == done
    assert run("seal_audit") == done | {"events": 0}
    assert Checkpoint.objects.last().size == events
    report = run("verify_audit")
    assert (report["sealed"], report["not_sealed"]) == (events, 0)


def test_it_begins_an_epoch(bot, run):
    TaskFactory(agent=bot)
    wait_until_stable()
    run("seal_audit")
    run("seal_audit", "--new-epoch", "the disk was restored")
    assert [epoch.reason for epoch in LogEpoch.objects.order_by("number")] == [
        sealing.FIRST,
        "the disk was restored",
    ]
    assert run("verify_audit")["whole"]


def test_a_kept_checkpoint(bot, run, tmp_path):
    TaskFactory(agent=bot)
    wait_until_stable()
    run("seal_audit")
    kept = tmp_path / "checkpoint"
    kept.write_text(Checkpoint.objects.get().note)
    assert run("verify_audit", "--against", str(kept))["whole"]
    with without_guards() as admin:
        for table in ("checkpoints", "log_tiles", "log_leaves", "log_epochs"):
            admin.execute(f"DELETE FROM audit_{table}")
    assert run("verify_audit")["whole"]
    said, _ = expect_failure("verify_audit", "--against", str(kept))
    assert said.startswith(f"removed: {kept}: there is no log ")


def test_what_is_no_checkpoint(tmp_path):
    other = tmp_path / "other"
    other.write_text("hello\n")
    _, sentence = expect_failure("verify_audit", "--against", str(other))
    assert sentence == f"{other} is no checkpoint of a transparency log."
    _, sentence = expect_failure("verify_audit", str(other), "--against", str(other))
    assert sentence == "--against compares the log in the database, not a file."


@pytest.mark.parametrize("command", ["seal_audit", "verify_audit", "worker"])
def test_a_setting_that_names_no_key(bot, settings, command):
    TaskFactory(agent=bot)
    wait_until_stable()
    sealing.seal_batch()
    settings.AUDIT_SIGNING_KEYS = ["/nowhere"]
    _, sentence = expect_failure(command)
    assert sentence.startswith("AUDIT_SIGNING_KEYS must name files")


def test_no_key_at_all(bot, settings):
    settings.TRIAL = False
    assert not sealing.is_sealing_configured()
    _, sentence = expect_failure("seal_audit")
    assert sentence == "AUDIT_SIGNING_KEYS names no key to sign checkpoints with."


def test_the_worker_seals(bot):
    with worker():
        TaskFactory(agent=bot)
        until(Checkpoint.objects.exists)


def test_a_setting_switches_it_off(settings):
    assert sealing.is_sealing_configured()
    settings.AUDIT_SEAL = False
    assert not sealing.is_sealing_configured()
