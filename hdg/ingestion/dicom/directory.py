"""DICOMDIR: which files a medium holds. DICOM PS3.3 Annex F, PS3.10 §8."""

from __future__ import annotations

from pathlib import Path

from hdg.errors import DicomError
from hdg.ingestion.dicom.header import Header

__all__ = ["DIRECTORY", "files_of", "is_directory"]

DIRECTORY = "1.2.840.10008.1.3.10"
_RECORDS, _FILE_ID = 0x00041220, 0x00041500


def is_directory(header: Header) -> bool:
    """Whether an object is a directory of others."""
    return header.sop_class == DIRECTORY


def files_of(header: Header, folder: Path) -> list[Path]:
    """The files that a directory names, in its order, each once; ``folder``: where it lies.

    Raises DicomError when one of them lies elsewhere.
    """
    found: dict[Path, None] = {}
    for record in header.data.items(_RECORDS):
        parts = [part for part in record.texts(_FILE_ID) if part]
        if not parts:
            continue
        if any(part in (".", "..") or "/" in part or "\0" in part for part in parts):
            raise DicomError("a file of the directory lies outside of it", "(0004,1500)")
        found[folder.joinpath(*parts)] = None
    return list(found)
