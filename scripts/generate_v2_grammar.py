"""Write the compact HL7 v2 grammar that the package ships, from hl7apy's structure tables.

Run ``python scripts/generate_v2_grammar.py`` in an environment that has hl7apy; the output depends on its
version only.

``grammar.json`` holds three objects:

- ``structures``: message structure → tree ``[name, flags, children]`` for a group and ``[name, flags]`` for
a segment;
  flags: ``*`` repeats, ``!`` is required. Group names come without the structure's prefix.
- ``segments``: segment → list of ``[field name, datatype, repeats]`` (index 0 is field 1).
- ``datatypes``: datatype → list of ``[component name, datatype]``.

A segment or datatype is that of the latest version which has it. A field or component which that version
withdrew (datatype ``WD``) keeps the name and type of the last version that used it: senders still fill it.

A structure is that of v2.5.1, which most senders follow, with the children that later versions added; but not
a new group around segments which v2.5.1 has directly (COMMON_ORDER around ORC): the same message would group
differently.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

BASE = "2_5_1"
VERSIONS = ("2_2", "2_3", "2_3_1", "2_4", "2_5", "2_5_1", "2_6", "2_7", "2_8", "2_8_1", "2_8_2")
OUTPUT = Path(__file__).resolve().parent.parent / "hdg" / "ingestion" / "hl7v2" / "grammar.json"
# Responses, queries and master files that nothing maps would only make the file larger.
STRUCTURES = """
    ACK ADT_A01 ADT_A02 ADT_A03 ADT_A04 ADT_A05 ADT_A06 ADT_A08 ADT_A09 ADT_A11 ADT_A12 ADT_A15 ADT_A16
    ADT_A17 ADT_A18 ADT_A20 ADT_A21 ADT_A24 ADT_A30 ADT_A31 ADT_A37 ADT_A38 ADT_A39 ADT_A40 ADT_A43
    ADT_A44 ADT_A45 ADT_A50 ADT_A52 ADT_A54 ADT_A60 ADT_A61 BAR_P01 BAR_P02 BAR_P05 BAR_P06 DFT_P03
    MDM_T01 MDM_T02 OMG_O19
    OML_O21 OML_O33 OMP_O09 ORG_O20 ORL_O22 ORL_O34 ORM_O01 ORR_O02 ORU_R01 ORU_R30 OUL_R22 OUL_R23 OUL_R24
    RDE_O11 RDS_O13 RAS_O17 RGV_O15 SIU_S12
    VXU_V04 REF_I12 PPR_PC1 DFT_P11 MFN_M02
""".split()  # noqa: SIM905  # easier to keep in order

_PERSON = [["PID", "!"], ["PD1", ""], ["ARV", "*"], ["PV1", ""], ["DB1", "*"]]
_LINKED = [["MSH", "!"], ["SFT", "*"], ["UAC", ""], ["EVN", "!"], ["PATIENT", "!*", _PERSON]]
_SWAPPED = [
    *([["PID", "!"], ["PD1", ""], ["ARV", "*"], ["PV1", "!"], ["PV2", ""], ["DB1", "*"]]),
    ["OBSERVATION", "*", [["OBX", "!"], ["PRT", "*"]]],
]
OWN: dict[str, list[Any]] = {
    "ADT_A17": [["MSH", "!"], ["SFT", "*"], ["UAC", ""], ["EVN", "!"], ["PATIENT", "!*", _SWAPPED]],
    "ADT_A24": _LINKED,
    "ADT_A37": _LINKED,
    "RSP_K11": [
        *([["MSH", "!"], ["SFT", "*"], ["UAC", ""], ["MSA", "!"], ["ERR", "*"], ["QAK", "!"], ["QPD", "!"]]),
        ["QUERY_RESULT", "*", "VXU_V04"],
        ["DSC", ""],
    ],
}
"""Structures that hl7apy has too flat for what is in them.

A17, A24 and A37 are about two people: each is a group. hl7apy's RSP_K11 ends at QPD, because what follows is for a
profile to say; in the immunization history (CDC 2.5.1 release 1.5, Z32 and Z31) it is what a VXU holds. A name
in the place of a group's children stands for that structure from its PID on.
"""
WITHOUT_PATIENT_GROUP = ("ORL_O22", "ORL_O34")
"""Answers whose v2.5.1 form puts everything below PATIENT; later versions do not, and take both."""
WITH_LATER_GROUPS = ("ADT_A60",)
"""Those whose later groups take the flat v2.5.1 form too: NTE and IAR stand below their IAM only."""
GROUPS = {
    "PIDPD1NTE_SUPPGRP": "PATIENT",
    "PV1PV2_SUPPGRP": "VISIT",
    "SPMOBXSACINVOBRORCNTETQ1TQ2OBXTCDSIDNTECTI_SUPPGRP": "SPECIMEN",
    "SPMOBXSACINV_SUPPGRP": "SPECIMEN",
    "TQ1TQ2_SUPPGRP": "TIMING_QTY",
    "OBXTCDSIDNTE_SUPPGRP": "RESULT",
    "OBXNTE_SUPPGRP": "OBSERVATION",
    "TIIMING": "TIMING",
    "COMPONENTS": "COMPONENT",
}
"""Names that hl7apy made up or misspelt, and the standard's own in later versions."""

ADDED: dict[str, dict[str, list[Any]]] = {
    "ORM_O01": {
        "PATIENT": [["NK1", "*"]],
        "ORDER": [["PRT", "*"], ["TIMING", "*", [["TQ1", "!"], ["TQ2", "*"]]]],
        "ORDER_DETAIL": [
            ["RXR", "*"],
            ["RXC", "*"],
            ["PRT", "*"],
            ["SPECIMEN", "*", [["SPM", "!"], ["OBX", "*"]]],
        ],
    }
}
"""What senders put into a group although its structure does not have it."""


def name_of(text: str) -> str:
    """``ASSIGNING_AUTHORITY`` → ``Assigning Authority``."""
    return " ".join(word.capitalize() for word in text.split("_")).replace(" S ", "'s ")


def shape(node: Any) -> tuple[str, str]:
    """Datatype and long name of a field or component, leaf or sequence."""
    return node[2], node[3]


def flags(cardinality: tuple[int, int]) -> str:
    """``(1, -1)`` → ``!*``."""
    return ("!" if cardinality[0] else "") + ("" if cardinality[1] in (0, 1) else "*")


def is_choice(group: str) -> bool:
    """Whether a group only says "one of these"."""
    return group == "CHOICE" or (group.endswith("_SUPPGRP") and group not in GROUPS)


def tree(structure: str, children: Any) -> list[Any]:
    """The compact form of a message's or a group's children."""
    result: list[Any] = []
    for name, content, cardinality, kind in children:
        if kind == "GRP":
            group = name.removeprefix(f"{structure}_")
            inner = tree(structure, content[1])
            if is_choice(group):  # one of several segments: each stands where the choice does
                result.extend([segment, flags((0, cardinality[1]))] for segment, _ in inner)
            else:
                result.append([GROUPS.get(group, group), flags(cardinality), inner])
        else:
            result.append([name, flags(cardinality)])
    return result


def opener(node: list[Any]) -> str:
    """The segment that begins a node."""
    return str(node[0] if len(node) == 2 else opener(node[2][0]))


def extend(base: list[Any], later: list[Any]) -> None:
    """Put into ``base`` what only ``later`` has, each after the sibling that it follows there."""
    names = {node[0] for node in base}
    # An OBX beside a group of OBX (v2.8 ORU_R30) would take every one of them.
    openers = {opener(node) for node in base if "*" in node[1]}
    after = 0
    for node in later:
        if node[0] in names:
            after = next(index for index, known in enumerate(base) if known[0] == node[0]) + 1
            known = base[after - 1]
            if len(known) == len(node) == 3:
                extend(known[2], node[2])
        elif opener(node) not in names | openers:
            base.insert(after, node)
            after += 1


def add(nodes: list[Any], added: dict[str, list[Any]]) -> None:
    """Put the segments and groups of ``added`` at the end of the groups that it names."""
    for node in nodes:
        if len(node) == 3:
            add(node[2], added)
            node[2].extend(added.get(node[0], []))


def own(node: list[Any], structures: dict[str, Any]) -> list[Any]:
    """A node of ``OWN`` with the structure that it names."""
    if len(node) < 3 or not isinstance(node[2], str):
        return node
    body = structures[node[2]]
    return [*node[:2], body[[child[0] for child in body].index("PID") :]]


def is_gone(row: list[Any] | None) -> bool:
    """Whether a version only keeps the place of a withdrawn field."""
    return row is None or row[1] == "WD" or row[0] in ("", "Withdrawn", "Reserved")


def overlay(old: list[list[Any]], new: list[list[Any]]) -> list[list[Any]]:
    """``new`` over ``old``; places that ``new`` withdrew keep what ``old`` said."""
    merged = []
    for index in range(max(len(old), len(new))):
        before = old[index] if index < len(old) else None
        after = new[index] if index < len(new) else None
        merged.append(before if is_gone(after) and before is not None else after)
    return [row for row in merged if row is not None]


def fields(children: Any) -> list[list[Any]]:
    """Rows ``[name, datatype, repeats]`` of a segment; gaps in the numbering become empty rows."""
    rows: dict[int, list[Any]] = {}
    for name, content, cardinality, _kind in children:
        datatype, title = shape(content)
        repeats = 0 if cardinality[1] in (0, 1) else 1
        rows[int(name.rpartition("_")[2])] = [name_of(title or ""), datatype or "ST", repeats]
    return [rows.get(number, ["", "WD", 0]) for number in range(1, max(rows, default=0) + 1)]


def components(children: Any) -> list[list[Any]]:
    """Rows ``[name, datatype]`` of a datatype."""
    return [row[:2] for row in fields(children)]


def main() -> None:
    """Write grammar.json."""
    structures: dict[str, Any] = {}
    segments: dict[str, list[list[Any]]] = {}
    datatypes: dict[str, list[list[Any]]] = {}
    for version in VERSIONS:
        package = importlib.import_module(f"hl7apy.v{version}")
        for name in STRUCTURES:
            if name not in package.MESSAGES:
                continue
            found = tree(name, package.MESSAGES[name][1])
            is_later = VERSIONS.index(version) > VERSIONS.index(BASE)
            if name in structures and is_later and name not in (*WITHOUT_PATIENT_GROUP, *WITH_LATER_GROUPS):
                extend(structures[name], found)
            else:
                structures[name] = found
        for name, definition in package.SEGMENTS.items():
            if len(name) == 3 and definition[0] == "sequence" and len(definition) > 1:
                segments[name] = overlay(segments.get(name, []), fields(definition[1]))
        for name, definition in package.DATATYPES_STRUCTS.items():
            datatypes[name] = overlay(datatypes.get(name, []), components(definition))
    for name, added in ADDED.items():
        add(structures[name], added)
    for name, nodes in OWN.items():
        structures[name] = [own(node, structures) for node in nodes]
    content = {"datatypes": datatypes, "segments": segments, "structures": structures}
    OUTPUT.write_text(json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n", "utf-8")


if __name__ == "__main__":
    main()
