"""The tools of the Model Context Protocol: what an agent's model calls instead of the REST API.

A tool is a thin door before that API: its arguments become one request, asked in this process, so
whoever calls meets the same rules, limits, receipts and codes as over HTTP.
"""
