"""HTTP conventions."""
