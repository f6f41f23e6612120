-- Before the vote is there, so that it is not among those that vote_obstacle() reads.
DROP TRIGGER IF EXISTS votes_eligible ON votes;
CREATE TRIGGER votes_eligible BEFORE INSERT ON votes
    FOR EACH ROW EXECUTE FUNCTION votes_eligible();
