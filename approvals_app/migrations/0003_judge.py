"""Whom the event names decides, and a task is approved by all of its approvals."""

from django.db import migrations

from audit_app.guard import judge

APPROVALS = [
    "approval.requested:>pending",
    "approval.approved:pending>approved",
    "approval.rejected:pending>rejected",
    "approval.expired:pending>expired",
    "approval.withdrawn:pending>withdrawn",
    "approval.purged:approved>",
    "approval.purged:rejected>",
    "approval.purged:expired>",
    "approval.purged:withdrawn>",
]
RULES = """
CREATE FUNCTION approvals_voice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'approval' AND subject_id = NEW.id AND seq = NEW.version
          AND starts_with(actor, 'human:') AND actor_id = NEW.decided_by_id::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'approval % was decided by somebody else than its event says', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_voice() IS
    'Trigger, deferred: whom the row names decided, and is human, by the event too.';
CREATE CONSTRAINT TRIGGER approvals_voice AFTER UPDATE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'pending' AND NEW.status IN ('approved', 'rejected'))
    EXECUTE FUNCTION approvals_voice();

CREATE FUNCTION tasks_quorum() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.approvals WHERE task_id = NEW.id HAVING bool_and(status = 'approved');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'task % was approved without all of its approvals', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tasks_quorum() IS
    'Trigger, deferred: a task that waited is approved once all who were asked approved.';
CREATE CONSTRAINT TRIGGER tasks_quorum AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'awaiting_approval' AND NEW.status = 'approved')
    EXECUTE FUNCTION tasks_quorum();

-- What changes no row (an agent's note, a refusal) is nobody's state; everything else is a row's.
ALTER TABLE audit_events ADD CONSTRAINT audit_events_of_a_known_kind CHECK (
    CASE subject_type
        WHEN 'note' THEN event_type LIKE 'agent.%' AND seq = 1 AND to_state IS NULL
        WHEN 'refusal' THEN event_type = 'operation.refused' AND seq = 1 AND to_state IS NULL
        ELSE subject_type IN ('agent', 'session', 'task', 'approval')
    END
);
DROP FUNCTION audit_guard;
"""


class Migration(migrations.Migration):
    dependencies = [("approvals_app", "0002_guards"), ("sessions_app", "0003_judge")]

    operations = [
        judge("approvals", "approval", APPROVALS),
        migrations.RunSQL(RULES),
    ]
