"""Mapping tables: CSV rows become rules, rules become closures (DESIGN §4)."""
