-- Before the vote is there, so that it is not among those that vote_obstacle() reads.
CREATE TRIGGER votes_eligible BEFORE INSERT ON votes
    FOR EACH ROW EXECUTE FUNCTION votes_eligible();

CREATE TRIGGER votes_open BEFORE UPDATE ON votes
    FOR EACH ROW EXECUTE FUNCTION votes_open();

CREATE CONSTRAINT TRIGGER votes_voice AFTER INSERT OR UPDATE ON votes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION votes_voice();

-- Whether the signature is right is checked by the operation and by verify_audit.
CREATE CONSTRAINT TRIGGER votes_signed AFTER INSERT ON votes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION votes_signed();

CREATE CONSTRAINT TRIGGER votes_kept AFTER DELETE ON votes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION votes_kept();
