"""Tells schemathesis how to write the bodies of DICOMweb, which it does not know."""

from __future__ import annotations

import schemathesis

__all__ = ["DICOM"]

DICOM = 'multipart/related; type="application/dicom"'


@schemathesis.serializer("multipart/related")
def dicom_parts(context: schemathesis.SerializationContext, value: object) -> dict[str, object]:
    """One part of type application/dicom around a value."""
    raw = value if isinstance(value, bytes) else str(value).encode()
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + raw + b"\r\n--b--\r\n"
    return {"data": body, "headers": {"Content-Type": f"{DICOM}; boundary=b"}}
