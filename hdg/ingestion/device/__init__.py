"""Device data to FHIR R4: IEEE 11073 (IHE PCD-01, 20601 objects, BLE GATT), phone exports, home measurements."""
