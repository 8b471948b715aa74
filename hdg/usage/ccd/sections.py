"""The sections of a CCD and their order. C-CDA R2.1 §1.2 and §2."""

from __future__ import annotations

from dataclasses import dataclass

from hdg.usage.ccd.book import Book
from hdg.usage.ccd.xml import Node, node

__all__ = ["SECTIONS", "Section", "sections"]


@dataclass(frozen=True, slots=True)
class Section:
    """One section. ``root``, ``version``: its template; ``columns``: the head of its table."""

    key: str
    code: str
    root: str
    version: str
    title: str
    columns: tuple[str, ...]
    is_required: bool = False


_T = "2.16.840.1.113883.10.20.22.2."
SECTIONS = (
    Section(
        "allergies",
        "48765-2",
        f"{_T}6.1",
        "2015-08-01",
        "Allergies",
        ("Substance", "Reactions", "Status", "Since"),
        True,
    ),
    Section(
        "medications",
        "10160-0",
        f"{_T}1.1",
        "2014-06-09",
        "Medications",
        ("Medication", "Instructions", "Status", "When"),
        True,
    ),
    Section(
        "problems",
        "11450-4",
        f"{_T}5.1",
        "2015-08-01",
        "Problems",
        ("Problem", "Status", "Since", "Until"),
        True,
    ),
    Section(
        "procedures", "47519-4", f"{_T}7.1", "2014-06-09", "Procedures", ("Procedure", "Status", "When"), True
    ),
    Section("results", "30954-2", f"{_T}3.1", "2015-08-01", "Results", ("Test", "Result", "When"), True),
    Section(
        "social", "29762-2", f"{_T}17", "2015-08-01", "Social history", ("What", "Finding", "When"), True
    ),
    Section("vitals", "8716-3", f"{_T}4.1", "2015-08-01", "Vital signs", ("Sign", "Value", "When"), True),
    Section(
        "administered",
        "29549-3",
        f"{_T}38",
        "2014-06-09",
        "Medications administered",
        ("Medication", "Instructions", "Status", "When"),
    ),
    Section("immunizations", "11369-6", f"{_T}2.1", "2015-08-01", "Immunizations", ("Vaccine", "When")),
    Section(
        "encounters", "46240-8", f"{_T}22.1", "2015-08-01", "Encounters", ("Encounter", "When", "Status")
    ),
    Section("family", "10157-6", f"{_T}15", "2015-08-01", "Family history", ("Relation", "Problems")),
    Section(
        "functional", "47420-5", f"{_T}14", "2014-06-09", "Functional status", ("What", "Finding", "When")
    ),
    Section(
        "exam",
        "29545-1",
        "2.16.840.1.113883.10.20.2.10",
        "2015-08-01",
        "Physical findings",
        ("What", "Finding", "When"),
    ),
    Section(
        "directives",
        "42348-3",
        f"{_T}21.1",
        "2015-08-01",
        "Advance directives",
        ("Directive", "What is wanted", "When"),
    ),
    Section("history", "11329-0", f"{_T}39", "", "Other findings", ("What", "Finding", "When")),
    Section(
        "equipment", "46264-8", f"{_T}23", "2014-06-09", "Medical equipment", ("Device", "Status", "When")
    ),
    Section("goals", "61146-7", f"{_T}60", "", "Goals", ("Goal", "Status", "Since", "Due")),
    Section("plan", "18776-5", f"{_T}10", "2014-06-09", "Plan of treatment", ("What", "When", "Status")),
    Section(
        "teams", "85847-2", f"{_T}500", "2022-06-01", "Care teams", ("Team", "Members", "Status", "When")
    ),
    Section("payers", "48768-6", f"{_T}18", "2015-08-01", "Payers", ("Payer", "Policy", "Member", "When")),
)


def sections(entries: dict[str, list[Node]], book: Book) -> list[Node]:
    """The sections that have entries, and those that a CCD needs."""
    made = [_section(one, entries.get(one.key, []), book) for one in SECTIONS]
    return [node("component", one) for one in made if one is not None]


def _section(section: Section, entries: list[Node], book: Book) -> Node | None:
    if not entries and not section.is_required:
        return None
    root, version = section.root, section.version
    return node(
        "section",
        node("templateId", root=root),
        node("templateId", root=root, extension=version) if version else None,
        node("code", code=section.code, codeSystem="2.16.840.1.113883.6.1", codeSystemName="LOINC"),
        node("title", section.title),
        node("text", _table(section, book) if entries else "No information"),
        [node("entry", one, typeCode="DRIV") for one in entries],
        nullFlavor=None if entries else "NI",
    )


def _table(section: Section, book: Book) -> Node:
    head = node("thead", node("tr", [node("th", one) for one in section.columns]))
    return node("table", head, node("tbody", book.rows(section.key)))
