-- Who may not decide: one place for votes, decisions and overrides.
CREATE OR REPLACE FUNCTION approvals_excluded(asked public.tasks, asking uuid[], people integer[])
RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM public.auth_user AS person WHERE person.id = ANY(people) AND (
        person.id = (asked).edited_by_id
        OR EXISTS (SELECT FROM public.task_revisions
            WHERE task_id = (asked).id AND edited_by_id = person.id)
        OR ((asked).on_behalf_of <> '' AND upper((asked).on_behalf_of)
            IN (upper(person.username), upper(person.email)))
        OR EXISTS (SELECT FROM public.agents
            WHERE id = ANY(asking || (asked).agent_id) AND owner_id = person.id)));
END $$;
COMMENT ON FUNCTION approvals_excluded(public.tasks, uuid[], integer[]) IS
    'Separation of duties: whether one of these people owns an agent that asks, is whom it is '
    'asked for, or wrote any revision.';
