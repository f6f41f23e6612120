-- Which events the leaves are: the last row grows, nothing else changes.
CREATE TRIGGER audit_log_leaves_grow BEFORE UPDATE ON audit_log_leaves
    FOR EACH ROW EXECUTE FUNCTION audit_log_grows();
CREATE TRIGGER audit_log_leaves_append_only BEFORE DELETE ON audit_log_leaves
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_log_leaves_refuse_truncate BEFORE TRUNCATE ON audit_log_leaves
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
