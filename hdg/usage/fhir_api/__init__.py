"""The FHIR R4 REST API."""
