"""CDA R2 documents, C-CDA among them, to FHIR R4."""
