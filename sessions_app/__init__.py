"""The second floor: agents, their sessions, the tasks they route and execute."""
