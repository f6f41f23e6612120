-- Generated from the model approvals_app.Comment by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER comments_check_transition AFTER INSERT OR UPDATE OR DELETE ON comments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'comment',
        'comment.added:>added',
        'comment.purged:added>');

CREATE OR REPLACE FUNCTION comments_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'comment' AND subject_id = NEW.id AND seq = NEW.version;
    IF NEW.version = 1 AND (
           said ? 'approval_id' AND said ->> 'approval_id' IS DISTINCT FROM NEW.approval_id::text
           OR said ? 'author_id' AND said ->> 'author_id' IS DISTINCT FROM NEW.author_id::text
           OR said ? 'text' AND said ->> 'text' IS DISTINCT FROM NEW.text::text
           OR said ? 'role' AND said ->> 'role' IS DISTINCT FROM NEW.role::text
           OR said ? 'trace_id' AND said ->> 'trace_id' IS DISTINCT FROM NEW.trace_id::text) THEN
        RAISE EXCEPTION 'a row of comments is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('comment %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION comments_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER comments_check_values AFTER INSERT OR UPDATE ON comments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION comments_stated();

CREATE TRIGGER comments_refuse_truncate BEFORE TRUNCATE ON comments
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER comments_immutable BEFORE UPDATE ON comments FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.approval_id IS DISTINCT FROM NEW.approval_id
        OR OLD.author_id IS DISTINCT FROM NEW.author_id
        OR OLD.text IS DISTINCT FROM NEW.text
        OR OLD.status IS DISTINCT FROM NEW.status
        OR OLD.role IS DISTINCT FROM NEW.role
        OR OLD.trace_id IS DISTINCT FROM NEW.trace_id
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION comments_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.comments WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('comment %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION comments_event() IS 'Trigger, deferred: every event of comments has its change.';
CREATE CONSTRAINT TRIGGER comments_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'comment')
    EXECUTE FUNCTION comments_event();
