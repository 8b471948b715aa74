"""What the tests that let schemathesis ask share: bodies of DICOMweb, how much it asks, what it checks."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

__all__ = ["CHECKS", "DICOM", "asking"]

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def asking(examples: int) -> settings:
    """The same ``examples`` requests an operation on every run, whatever they take."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


DICOM = 'multipart/related; type="application/dicom"'


@schemathesis.serializer("multipart/related")
def dicom_parts(context: schemathesis.SerializationContext, value: object) -> dict[str, object]:
    """One part of type application/dicom around a value."""
    raw = value if isinstance(value, bytes) else str(value).encode()
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + raw + b"\r\n--b--\r\n"
    return {"data": body, "headers": {"Content-Type": f"{DICOM}; boundary=b"}}
