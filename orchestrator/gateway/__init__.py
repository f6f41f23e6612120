"""The MCP gateway: stands in front of other MCP servers (upstreams) and has the policies judge each
``tools/call`` before it is passed on.
"""
