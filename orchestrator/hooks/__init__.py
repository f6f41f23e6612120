"""Hooks of coding agents: each tool call becomes a task that policies and people decide on."""
