"""The modules whose attributes the tables speak of (mappings/dicom/modules.csv). DICOM PS3.3 §C.2 to C.18.

Each of their attributes has a row in some table, which ``hdg map lint`` proves; one of them that is valued and was not
carried is reported. What else an object holds (how it was acquired, how its pixels lie, private elements) stays in it.
"""

from __future__ import annotations

import csv
from functools import cache

from hdg.data import folder
from hdg.errors import TableError
from hdg.ingestion.dicom.dictionary import tag_of

__all__ = ["modules"]


@cache
def modules() -> dict[int, tuple[int, str, str]]:
    """Tag → (line, module, keyword). Raises TableError."""
    found: dict[int, tuple[int, str, str]] = {}
    path = folder("mappings") / "dicom" / "modules.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        for line, cells in enumerate(csv.reader(stream, strict=True), 1):
            if line == 1 and cells == ["module", "keyword"]:
                continue
            try:
                module, keyword = cells
                found[tag_of(keyword)] = (line, module, keyword)
            except ValueError as error:
                raise TableError("dicom/modules.csv", line, str(error)) from error
    return found
