-- The tree: rows are added, the last tile of a level grows, nothing else changes.
CREATE TRIGGER audit_log_tiles_grow BEFORE UPDATE ON audit_log_tiles
    FOR EACH ROW EXECUTE FUNCTION audit_log_grows();
CREATE TRIGGER audit_log_tiles_append_only BEFORE DELETE ON audit_log_tiles
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_log_tiles_refuse_truncate BEFORE TRUNCATE ON audit_log_tiles
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
