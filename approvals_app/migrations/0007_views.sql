-- A crash may empty it: then whoever has a page open says so again.
ALTER TABLE viewers SET UNLOGGED;

-- The words of a task, cut as approvals_app/inbox.py cuts those that are searched for: an escape of
-- JSON and whatever ASCII has for punctuation part them. No more of them than a tsvector can hold,
-- whatever an agent writes; the description stands first, since a payload may be long.
CREATE FUNCTION tasks_words(said text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN to_tsvector('pg_catalog.simple'::regconfig, translate(
        regexp_replace(left(said, 50000), '\\.', ' ', 'g'),
        '!"#$%&''()*+,-./:;<=>?@[]^_`{|}~', repeat(' ', 31)));
COMMENT ON FUNCTION tasks_words(text) IS 'The words of a task that the inbox finds it by.';
CREATE INDEX tasks_waiting_words ON tasks USING gin (tasks_words(description || ' ' || payload))
    WHERE status = 'awaiting_approval';

CREATE INDEX tasks_on_behalf_of ON tasks (upper(on_behalf_of), created_at DESC)
    WHERE on_behalf_of <> '';
