CREATE TRIGGER audit_log_epochs_append_only BEFORE UPDATE OR DELETE ON audit_log_epochs
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_log_epochs_refuse_truncate BEFORE TRUNCATE ON audit_log_epochs
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
