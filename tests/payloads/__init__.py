"""Payloads in the shapes that real tools send, and what their summaries must say."""
