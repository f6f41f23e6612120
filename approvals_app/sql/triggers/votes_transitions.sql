-- Generated from the model approvals_app.Vote by `make docs`.

-- Every change has its event, and is one of these: event:before>after.
CREATE CONSTRAINT TRIGGER votes_transition AFTER INSERT OR UPDATE OR DELETE ON votes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'vote',
        'vote.cast:>cast',
        'vote.withdrawn:cast>withdrawn',
        'vote.purged:cast>',
        'vote.purged:withdrawn>');

CREATE TRIGGER votes_refuse_truncate BEFORE TRUNCATE ON votes
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER votes_immutable BEFORE UPDATE ON votes FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.approval_id IS DISTINCT FROM NEW.approval_id
        OR OLD.voter_id IS DISTINCT FROM NEW.voter_id
        OR OLD.seat_of_id IS DISTINCT FROM NEW.seat_of_id
        OR OLD.choice IS DISTINCT FROM NEW.choice
        OR OLD.payload_digest IS DISTINCT FROM NEW.payload_digest
        OR OLD.notes IS DISTINCT FROM NEW.notes
        OR OLD.answer IS DISTINCT FROM NEW.answer
        OR OLD.role IS DISTINCT FROM NEW.role
        OR OLD.trace_id IS DISTINCT FROM NEW.trace_id
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION votes_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.votes WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('vote %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION votes_event() IS 'Trigger, deferred: every event of votes has its change.';
CREATE CONSTRAINT TRIGGER votes_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'vote')
    EXECUTE FUNCTION votes_event();
