"""HL7 v3 messages of the patient registry to FHIR R4, by the engine and the table form of CDA documents."""
