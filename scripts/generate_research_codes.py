"""Writes codes.json and modifiers.json of hdg/usage/research from hl7.fhir.r4.examples@4.0.1 (CC0).

    python scripts/generate_research_codes.py                  fetches the package with `npm pack`, writes
    python scripts/generate_research_codes.py --check          exit 1 when a shipped table differs
    python scripts/generate_research_codes.py --package FILE   uses a package that lies here already

codes.json: the codes of HL7's own code systems; a researcher is shown a code only where it is known to be one.
modifiers.json: the elements that R4 marks isModifier; what is left out must not be one of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from generate_definitions import PACKAGE, concept_codes, fetch, read

TARGET = Path(__file__).resolve().parent.parent / "hdg" / "usage" / "research"
OURS = ("http://terminology.hl7.org/CodeSystem/", "http://hl7.org/fhir/")


def main() -> int:
    """Writes or checks the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the shipped tables, write nothing")
    parser.add_argument("--package", type=Path, help=f"the .tgz of {PACKAGE}; fetched with npm when absent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = read(options.package or fetch(Path(scratch)))
    differing = 0
    for name, entries in {
        "codes.json": codes(found["CodeSystem"]),
        "modifiers.json": modifiers(found["StructureDefinition"]),
    }.items():
        content = table(entries)
        path = TARGET / name
        is_same = path.is_file() and path.read_bytes() == content
        differing += not is_same
        if not options.check and not is_same:
            path.write_bytes(content)
        print(f"{name}: {len(entries)} entries, {'unchanged' if is_same else 'differs'}")
    return 1 if options.check and differing else 0


def codes(systems: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Code system → its codes."""
    found: dict[str, list[str]] = {}
    for url, system in systems.items():
        listed = sorted(set(concept_codes(system.get("concept", []))))
        if url.startswith(OURS) and "|" not in url and listed and system["content"] != "supplement":
            found[url] = listed
    return found


def modifiers(structures: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Type or path of a backbone element → names of its elements that modify the meaning of others."""
    found: dict[str, list[str]] = {}
    for structure in structures.values():
        if structure.get("derivation") == "constraint":
            continue
        for element in structure.get("snapshot", {}).get("element", ()):
            owner, _, name = element["path"].rpartition(".")
            if element.get("isModifier") and owner:
                found.setdefault(owner, []).append(name.removesuffix("[x]"))
    return {owner: sorted(names) for owner, names in found.items()}


def table(entries: dict[str, list[str]]) -> bytes:
    """One line of JSON for each entry, sorted."""
    lines = (
        f"{json.dumps(key)}:{json.dumps(entries[key], separators=(',', ':'), ensure_ascii=False)}"
        for key in sorted(entries)
    )
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


if __name__ == "__main__":
    sys.exit(main())
