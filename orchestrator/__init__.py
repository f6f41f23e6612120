"""The entry points: settings, URLs, HTTP conventions, the server, accounts, MCP and operations."""

__version__ = "0.1.0"
