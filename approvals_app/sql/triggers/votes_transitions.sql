-- Generated from the model approvals_app.Vote by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER votes_check_transition AFTER INSERT OR UPDATE OR DELETE ON votes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'vote',
        'vote.cast:>cast',
        'vote.withdrawn:cast>withdrawn',
        'vote.purged:cast>',
        'vote.purged:withdrawn>');

CREATE OR REPLACE FUNCTION votes_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'vote' AND subject_id = NEW.id AND seq = NEW.version;
    IF NEW.version = 1 AND NOT said ?& ARRAY['approval_id', 'choice', 'payload_digest', 'notes', 'seat_of']
       OR NEW.version = 1 AND (
           said ? 'approval_id' AND said ->> 'approval_id' IS DISTINCT FROM NEW.approval_id::text
           OR said ? 'voter_id' AND said ->> 'voter_id' IS DISTINCT FROM NEW.voter_id::text
           OR said ? 'seat_of_id' AND said ->> 'seat_of_id' IS DISTINCT FROM NEW.seat_of_id::text
           OR said ? 'choice' AND said ->> 'choice' IS DISTINCT FROM NEW.choice::text
           OR said ? 'payload_digest' AND said ->> 'payload_digest' IS DISTINCT FROM NEW.payload_digest::text
           OR said ? 'notes' AND said ->> 'notes' IS DISTINCT FROM NEW.notes::text
           OR said ? 'answer' AND said -> 'answer' IS DISTINCT FROM coalesce(NEW.answer, 'null')
           OR said ? 'confirmed_instruction' AND said ->> 'confirmed_instruction' IS DISTINCT FROM NEW.confirmed_instruction::text
           OR said ? 'assertion' AND said -> 'assertion' IS DISTINCT FROM coalesce(NEW.assertion, 'null')
           OR said ? 'signed_statement' AND said ->> 'signed_statement' IS DISTINCT FROM NEW.signed_statement::text
           OR said ? 'role' AND said ->> 'role' IS DISTINCT FROM NEW.role::text
           OR said ? 'trace_id' AND said ->> 'trace_id' IS DISTINCT FROM NEW.trace_id::text
           OR said ? 'seat_of' AND said ->> 'seat_of' IS DISTINCT FROM NEW.seat_of_id::text) THEN
        RAISE EXCEPTION 'a row of votes is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('vote %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION votes_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER votes_check_values AFTER INSERT OR UPDATE ON votes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION votes_stated();

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
        OR OLD.confirmed_instruction IS DISTINCT FROM NEW.confirmed_instruction
        OR OLD.assertion IS DISTINCT FROM NEW.assertion
        OR OLD.signed_statement IS DISTINCT FROM NEW.signed_statement
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
