"""Ingestion: bytes in, Converted out; no I/O below the listeners."""
