CREATE OR REPLACE FUNCTION audit_log_grows() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'audit_log_tiles' THEN
        IF NEW.level = OLD.level AND NEW.number = OLD.number
           AND octet_length(NEW.hashes) > octet_length(OLD.hashes)
           AND substr(NEW.hashes, 1, octet_length(OLD.hashes)) = OLD.hashes THEN
            RETURN NEW;
        END IF;
    ELSIF NEW.number = OLD.number
          AND cardinality(NEW.positions) > cardinality(OLD.positions)
          AND NEW.positions[1:cardinality(OLD.positions)] = OLD.positions THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'What was sealed stays; a row may only grow at its end.';
END $$;
COMMENT ON FUNCTION audit_log_grows() IS
    'Trigger: a row of the log keeps what it has, and may get more behind it.';
