CREATE CONSTRAINT TRIGGER agent_keys_issued AFTER INSERT ON agent_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION agent_keys_event();

CREATE CONSTRAINT TRIGGER agent_keys_revoked AFTER UPDATE ON agent_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.agent_id, OLD.prefix, OLD.hash, OLD.revoked_at)
        IS DISTINCT FROM (NEW.agent_id, NEW.prefix, NEW.hash, NEW.revoked_at))
    EXECUTE FUNCTION agent_keys_event();

CREATE TRIGGER agent_keys_immutable BEFORE UPDATE ON agent_keys FOR EACH ROW
    WHEN ((OLD.agent_id, OLD.prefix, OLD.hash) IS DISTINCT FROM (NEW.agent_id, NEW.prefix, NEW.hash)
        OR OLD.revoked_at < clock_timestamp())
    EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER identities_changed
    AFTER UPDATE OF id, agent_id, hash, revoked_at OR DELETE OR TRUNCATE ON agent_keys
    FOR EACH STATEMENT EXECUTE FUNCTION identities_changed();
