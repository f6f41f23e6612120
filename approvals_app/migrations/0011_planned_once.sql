-- As audit_app's 0010: each vote and each decision asked these anew, and planned them each time.

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

CREATE OR REPLACE FUNCTION approvals_member(person integer, role text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM public.auth_user AS member
        JOIN public.auth_user_groups AS membership ON membership.user_id = member.id
        JOIN public.auth_group AS the_group ON the_group.id = membership.group_id
        WHERE member.id = person AND member.is_active AND the_group.name = role);
END $$;
