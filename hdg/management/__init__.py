"""Management: store, vault, ledger, keys, consent, audit, identity (DESIGN §6)."""
