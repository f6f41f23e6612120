"""The ground floor: who acts, once, and what happened."""
