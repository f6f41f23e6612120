-- The words of a task, cut as approvals_app/review/inbox.py cuts those that are searched for: an escape of
-- JSON and whatever ASCII has for punctuation part them. No more of them than a tsvector can hold,
-- whatever an agent writes; the description stands first, since a payload may be long.
CREATE OR REPLACE FUNCTION tasks_words(said text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN to_tsvector('pg_catalog.simple'::regconfig, translate(
        regexp_replace(left(said, 50000), '\\.', ' ', 'g'),
        '!"#$%&''()*+,-./:;<=>?@[]^_`{|}~', repeat(' ', 31)));
COMMENT ON FUNCTION tasks_words(text) IS 'The words of a task that the inbox finds it by.';
