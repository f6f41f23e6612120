"""The Model Context Protocol server: tools for agents' models.

A tool is a thin layer over the REST API. Its arguments become one request in this process, so the
same rules, limits, idempotency and error codes apply as over HTTP.
"""
