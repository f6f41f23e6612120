-- Before the vote is there, so that it is not among those that vote_obstacle() reads.
CREATE TRIGGER votes_eligible BEFORE INSERT ON votes
    FOR EACH ROW EXECUTE FUNCTION votes_eligible();

CREATE TRIGGER votes_open BEFORE UPDATE ON votes
    FOR EACH ROW EXECUTE FUNCTION votes_open();

CREATE CONSTRAINT TRIGGER votes_voice AFTER INSERT OR UPDATE ON votes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION votes_voice();

CREATE CONSTRAINT TRIGGER votes_kept AFTER DELETE ON votes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION votes_kept();
