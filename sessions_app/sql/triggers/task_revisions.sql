CREATE CONSTRAINT TRIGGER task_revisions_kept AFTER INSERT OR DELETE ON task_revisions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION task_revisions_kept();

CREATE TRIGGER task_revisions_immutable BEFORE UPDATE ON task_revisions
    FOR EACH ROW EXECUTE FUNCTION task_revisions_erase();

CREATE TRIGGER task_revisions_refuse_truncate BEFORE TRUNCATE ON task_revisions
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
