"""MDM messages (HL7 v2.9 §9.6): documents as words, or as an embedded PDF. Pure."""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass, field

from hdg.simulate.messages import Header, joined
from hdg.simulate.people import FACILITY, Person


@dataclass(frozen=True, slots=True)
class Document:
    """A document: words (FT), or a PDF of about ``pdf_bytes``."""

    serial: int
    text: str = ""
    pdf: bytes = field(default=b"", repr=False)


def mdm(header: Header, person: Person, document: Document, event: str) -> bytes:
    """An MDM with content: T02 original, T08 edited."""
    at = header.stamp
    name = "18842-5^Discharge summary^LN"
    if document.pdf:
        data = base64.b64encode(document.pdf).decode()
        content = f"OBX|1|ED|{name}||{FACILITY}^AP^PDF^Base64^{data}||||||F|||{at}"
    else:
        content = f"OBX|1|FT|{name}||{document.text}||||||F|||{at}"
    return joined(
        [
            header.msh(f"MDM^{event}^MDM_T02"),
            f"EVN|{event}|{at}",
            person.pid,
            person.pv1,
            f"TXA|1|DS^Discharge summary^HL70270|FT|{at}|{person.attending}|{at}|||{person.attending}|||"
            f"DOC{document.serial:08d}^DOCS^2.999.5^ISO|||||AU||AV",
            content,
        ]
    )


def pdf(rng: random.Random, size: int) -> bytes:
    """A PDF of one empty page and an attachment of ``size`` random bytes: hard to compress, as scans are."""
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>",
        b"<</Length %d>>stream\n%b\nendstream" % (size, rng.randbytes(size)),
    )
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%b endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"xref\n0 5\n0000000000 65535 f \n%btrailer<</Size 5/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (
        table,
        len(out),
    )
    return bytes(out)
