CREATE CONSTRAINT TRIGGER audit_events_key_issued AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.event_type = 'key.issued')
    EXECUTE FUNCTION key_issued();
