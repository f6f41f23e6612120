CREATE OR REPLACE VIEW pending_approvals AS
    SELECT approval.id, approval.task_id, approval.approver_role, approval.created_at,
        task.description, task.from_role, task.to_role
    FROM approvals AS approval JOIN tasks AS task ON task.id = approval.task_id
    WHERE approval.status = 'pending' ORDER BY approval.created_at;
COMMENT ON VIEW pending_approvals IS 'Approvals that wait for a human, oldest first.';
