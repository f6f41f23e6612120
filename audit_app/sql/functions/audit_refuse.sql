CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'Audit events are append-only, and what was approved can not be changed.';
END $$;
COMMENT ON FUNCTION audit_refuse() IS 'Trigger: refuses the statement it is hung on.';
