"""The ledger: an append-only Merkle log in public formats (RFC 6962, C2SP tlog)."""
