"""Subscriptions: what is changed is told to who asked for it and may see it (docs/subscriptions.md)."""
