"""Each change of an agent, a session, a task or a key has an event of a kind that makes it."""

from django.db import migrations

from audit_app.guard import judge

AGENTS = [
    "identity.created:>active",
    "identity.changed:>",
    "identity.revoked:active>revoked",
    "key.issued:>",
    "key.revoked:>",
]
SESSIONS = [
    "session.opened:>pending",
    "session.updated:>",
    "session.activated:pending>active",
    "session.completed:active>completed",
    "session.failed:active>failed",
    "session.expired:pending>expired",
    "session.expired:active>expired",
    "session.purged:completed>",
    "session.purged:failed>",
    "session.purged:expired>",
]
TASKS = [
    "task.routed:>awaiting_approval",
    "task.routed:>approved",
    "task.approved:awaiting_approval>approved",
    "task.rejected:awaiting_approval>rejected",
    "task.expired:awaiting_approval>expired",
    "task.expired:approved>expired",
    "task.cancelled:awaiting_approval>cancelled",
    "task.cancelled:approved>cancelled",
    "task.cancelled:claimed>cancelled",
    "task.claimed:approved>claimed",
    "task.released:claimed>approved",
    "task.completed:claimed>completed",
    "task.failed:claimed>failed",
    "task.purged:rejected>",
    "task.purged:expired>",
    "task.purged:cancelled>",
    "task.purged:completed>",
    "task.purged:failed>",
]
KEYS = """
CREATE FUNCTION agent_keys_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'agent' AND subject_id = NEW.agent_id AND xid = pg_current_xact_id()
          AND event_type = CASE TG_OP WHEN 'INSERT' THEN 'key.issued' ELSE 'key.revoked' END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a key of agent % changed without its audit event', NEW.agent_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION agent_keys_event() IS
    'Trigger, deferred: no key is issued or revoked without an event of its agent.';
CREATE CONSTRAINT TRIGGER agent_keys_issued AFTER INSERT ON agent_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION agent_keys_event();
CREATE CONSTRAINT TRIGGER agent_keys_revoked AFTER UPDATE ON agent_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.agent_id, OLD.prefix, OLD.hash, OLD.revoked_at)
        IS DISTINCT FROM (NEW.agent_id, NEW.prefix, NEW.hash, NEW.revoked_at))
    EXECUTE FUNCTION agent_keys_event();
CREATE TRIGGER agent_keys_freeze BEFORE UPDATE ON agent_keys FOR EACH ROW
    WHEN ((OLD.agent_id, OLD.prefix, OLD.hash) IS DISTINCT FROM (NEW.agent_id, NEW.prefix, NEW.hash)
        OR OLD.revoked_at < clock_timestamp())
    EXECUTE FUNCTION audit_refuse();
"""


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0002_guards"), ("audit_app", "0003_judge")]

    operations = [
        judge("agents", "agent", AGENTS),
        judge("sessions", "session", SESSIONS),
        judge("tasks", "task", TASKS),
        migrations.RunSQL(KEYS),
    ]
