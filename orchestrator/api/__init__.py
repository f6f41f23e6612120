"""HTTP manners, reached by settings: how errors, pages, bodies and schemas are spoken."""
