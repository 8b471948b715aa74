"""DICOM objects: their headers in, FHIR R4 out. DICOM PS3.3, PS3.5, PS3.10, PS3.16 (https://dicom.nema.org/medical/dicom/current/)."""
