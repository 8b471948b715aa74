"""Consent: a pure decision, and the same rules as one SQL predicate."""
