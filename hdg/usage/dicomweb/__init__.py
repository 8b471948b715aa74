"""DICOMweb out: QIDO-RS and WADO-RS (DICOM PS3.18) over the gate."""
