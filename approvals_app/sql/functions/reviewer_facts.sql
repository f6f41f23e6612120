CREATE OR REPLACE FUNCTION reviewer_facts(person integer)
RETURNS TABLE (roles text[], agents uuid[], names text[]) LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT ARRAY(SELECT the_group.name::text
            FROM public.auth_user_groups AS membership
            JOIN public.auth_group AS the_group ON the_group.id = membership.group_id
            WHERE membership.user_id = member.id AND member.is_active),
        ARRAY(SELECT id FROM public.agents WHERE owner_id = member.id),
        ARRAY[upper(member.username), upper(member.email)]
            || ARRAY(SELECT name FROM public.person_aliases WHERE user_id = member.id)
    FROM public.auth_user AS member WHERE member.id = person
$$;
COMMENT ON FUNCTION reviewer_facts(integer) IS
    'What of a person decides on what they may vote: the groups of an active member, the agents '
    'that they own, and what on_behalf_of may call them, then or now, in capitals.';
