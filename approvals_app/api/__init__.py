"""HTTP of tasks and approvals. A task is shown with its approvals, so both live here."""
