"""HL7 v2: parser, conversion by table, MLLP and acknowledgements."""
