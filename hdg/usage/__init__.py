"""Usage: everything that reads, behind the one gate (access.py)."""
