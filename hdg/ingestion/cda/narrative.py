"""The narrative of a section (StrucDoc) as XHTML that R4 allows.

CDA R2 §4.3.5; R4 narrative.html. narrative.xslt is an allow-list: unknown elements give their text alone; no scripts,
styles, forms or outer resources. IDs stay, so that references from entries lead somewhere.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lxml import etree

from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import Element

__all__ = ["narrative"]

_NOTHING = etree.XSLTAccessControl(  # type: ignore[call-arg]  # the stubs know another signature
    read_file=False, write_file=False, create_dir=False, read_network=False, write_network=False
)


@cache
def _transform() -> etree.XSLT:
    sheet = etree.parse(Path(__file__).with_suffix(".xslt"))
    return etree.XSLT(sheet, access_control=_NOTHING)


def narrative(element: Element, state: State) -> dict[str, str] | None:
    """A Narrative, or None for one that says nothing."""
    if not any(text and not text.isspace() for text in element.itertext()):
        return None
    div = etree.tostring(_transform()(element).getroot(), encoding="unicode")
    return {"status": "generated", "div": div}
