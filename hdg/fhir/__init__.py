"""FHIR R4 (4.0.1) and nothing else: definitions, validation, FHIRPath, JSON, ids (DESIGN §3)."""
