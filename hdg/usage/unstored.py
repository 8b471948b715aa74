"""The types that are no resources of the store."""

from __future__ import annotations

__all__ = ["UNSTORED"]

UNSTORED = frozenset({"AuditEvent"})
"""The gateway alone writes them, whatever the policy says; they are read and searched by themselves alone
(accesses.py): no chain, include or subscription leads to them.
"""
