CREATE OR REPLACE FUNCTION person_aliases_remember() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.person_aliases (user_id, name)
    SELECT OLD.id, upper(former.name)
    FROM (VALUES (OLD.username, NEW.username), (OLD.email, NEW.email)) AS former (name, present)
    WHERE former.name <> '' AND upper(former.name) <> upper(former.present)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION person_aliases_remember() IS
    'Trigger: who was renamed, or got another address, stays known by the former one.';
