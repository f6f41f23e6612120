CREATE TRIGGER freezes_serialize BEFORE INSERT ON freezes
    FOR EACH STATEMENT EXECUTE FUNCTION freezes_serialize();

CREATE TRIGGER freezes_refuse_delete BEFORE DELETE ON freezes
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
