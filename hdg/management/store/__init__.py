"""The store: every version, encrypted, with typed search indexes."""
