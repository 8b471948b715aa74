"""The modules whose attributes the tables speak of (mappings/dicom/modules/mapped.csv). DICOM PS3.3 §C.2 to C.24.

Each of their attributes has a row in some table, which ``hdg map lint`` proves; one of them that is valued and was not
carried is reported. What else an object holds (how it was acquired, how its pixels lie, private elements) stays in it.
"""

from __future__ import annotations

from hdg.ingestion.dicom.dictionary import tag_of
from hdg.mapping.library import Library
from hdg.mapping.table import Rule

__all__ = ["modules"]


def modules(library: Library) -> dict[int, Rule]:
    """Tag → its row: the keyword is the source, the module its name. Raises TableError."""
    table = library.table("modules", "mapped")
    found: dict[int, Rule] = {}
    for rule in table.rules if table is not None else ():
        try:
            found[tag_of(rule.source)] = rule
        except ValueError as error:
            raise rule.error(str(error)) from error
    return found
