"""What may leave the gate: versions, pages of them, proofs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hdg.management.store import StoredVersion
from hdg.usage.research import view as research

__all__ = ["Proof", "Results", "Visible", "deidentified", "deidentified_page", "patients_of"]


@dataclass(frozen=True, slots=True)
class Visible:
    """A version that may leave. ``body``: the stored bytes, b'' for a deletion; ``updated_us``: µs, UTC."""

    type: str
    id: str
    version: int
    updated_us: int
    is_deleted: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class Results:
    """A page of visible versions. ``next_cursor``: '' on the last page; ``total``: None if not asked for.

    ``included``: what the matches bring along; ``is_cut``: some of that was left out, for it was too much.
    """

    matches: tuple[Visible, ...]
    total: int | None
    next_cursor: str
    included: tuple[Visible, ...] = ()
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Proof:
    """That the leaf of a version lies in the ledger at ``index`` of ``size``: audit path and signed head."""

    type: str
    id: str
    version: int
    leaf: bytes
    index: int
    size: int
    path: tuple[bytes, ...]
    checkpoint: str
    verifier_key: str


def deidentified(shown: research.Shown) -> Visible:
    """What a researcher gets; it tells neither a version nor a time (both 0)."""
    return Visible(shown.type, shown.id, 0, 0, False, shown.body)


def deidentified_page(page: research.Found) -> Results:
    """A page of what a researcher gets."""
    matches, included = tuple(map(deidentified, page.matches)), tuple(map(deidentified, page.included))
    return Results(matches, page.total, page.next_cursor, included)


def patients_of(versions: Sequence[StoredVersion]) -> tuple[str, ...]:
    """The patients that versions are about, each once, in the order of appearance."""
    return tuple(dict.fromkeys(patient for version in versions for patient in version.patients))
