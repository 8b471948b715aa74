"""FHIR resources of one patient to a Continuity of Care Document. C-CDA R2.1; pure."""
