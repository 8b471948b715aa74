"""HL7 v2: parser, conversion by table, MLLP and acknowledgements."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hdg.ingestion.converted import Converted
    from hdg.ingestion.sender import Sender


def convert_bytes(
    data: bytes, *, sender: Sender | None = None, id_key: bytes | None = None, at_us: int | None = None
) -> Converted:
    """Convert one message with the shipped tables; see convert.Converter for many.

    ``id_key`` None is the public key of ``hdg convert``. Raises Hl7v2Error.
    """
    from hdg.fhir.ids import PUBLIC_KEY
    from hdg.ingestion.hl7v2.convert import Converter

    return Converter(id_key=id_key or PUBLIC_KEY).convert(data, sender, at_us=at_us)
