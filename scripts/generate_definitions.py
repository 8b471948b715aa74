"""Writes the R4 tables of hdg/fhir/definitions from the official package hl7.fhir.r4.examples@4.0.1 (CC0).

    python scripts/generate_definitions.py                  fetches the package with `npm pack`, writes
    python scripts/generate_definitions.py --check          exit 1 when the shipped tables differ
    python scripts/generate_definitions.py --package FILE   uses a package that lies here already

The package holds every R4 StructureDefinition, ValueSet, CodeSystem, SearchParameter and
CompartmentDefinition; its SHA-512 is pinned below. Facts only are taken over (names, types, cardinalities,
codes, expressions), no prose.
The format is described in hdg/fhir/definitions/__init__.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGE = "hl7.fhir.r4.examples@4.0.1"
PACKAGE_SHA512 = (
    "0d705d21939e41a48a220094ef0e87382eecc3fe81cf29668a92e4056e1ffffa"
    "53f8173de31fbc2c89b04ddbda35384f2683b3a41cefc40ccdaa37aedd7ff32f"
)
TARGET = Path(__file__).resolve().parent.parent / "hdg" / "fhir" / "definitions"
WANTED = ("StructureDefinition", "ValueSet", "CodeSystem", "SearchParameter", "CompartmentDefinition")
SYSTEM_TYPE = "http://hl7.org/fhirpath/System."
FHIR_TYPE = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type"
OWN_SYSTEMS = ("http://hl7.org/fhir/", "http://terminology.hl7.org/CodeSystem/")
# Invariants of the base types, which every snapshot repeats on every element: kept on the base types alone.
REPEATED = re.compile(r"ele-1|ext-1|dom-\d")
JsonObject = dict[str, Any]


def main() -> int:
    """Writes or checks the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the shipped tables, write nothing")
    parser.add_argument("--package", type=Path, help=f"the .tgz of {PACKAGE}; fetched with npm when absent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        package = options.package or fetch(Path(scratch))
        tables = build(read(package))
    differing = 0
    for name, content in tables.items():
        path = TARGET / name
        is_same = path.is_file() and path.read_bytes() == content
        differing += not is_same
        if not options.check and not is_same:
            path.write_bytes(content)
        print(f"{name}: {len(content)} bytes, {'unchanged' if is_same else 'differs'}")
    return 1 if options.check and differing else 0


def fetch(folder: Path) -> Path:
    """Downloads the package into ``folder`` through the npm client."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.tgz"))


def read(package: Path) -> dict[str, dict[str, JsonObject]]:
    """The definitional resources of the package: type → canonical URL → resource."""
    found = hashlib.sha512(package.read_bytes()).hexdigest()
    if found != PACKAGE_SHA512:
        raise SystemExit(f"{package} is not the pinned {PACKAGE}: sha512 {found}")
    resources: dict[str, dict[str, JsonObject]] = {kind: {} for kind in WANTED}
    with tarfile.open(package) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            kind = Path(member.name).name.partition("-")[0]
            stream = archive.extractfile(member) if kind in WANTED else None
            if stream is not None:
                resource = json.loads(stream.read())
                if resource["resourceType"] == kind:
                    resources[kind].setdefault(resource["url"], resource)
    return resources


def build(resources: dict[str, dict[str, JsonObject]]) -> dict[str, bytes]:
    """File name → bytes of every table."""
    structures = {
        definition["name"]: definition
        for definition in resources["StructureDefinition"].values()
        if definition.get("derivation") != "constraint"
        and definition["kind"] in ("resource", "complex-type", "primitive-type")
    }
    value_sets: dict[str, str] = {}
    types = {name: type_entry(structures[name], structures, value_sets) for name in sorted(structures)}
    concrete = [
        name
        for name, entry in types.items()
        if entry["kind"] == "resource" and not structures[name]["abstract"]
    ]
    patient = resources["CompartmentDefinition"]["http://hl7.org/fhir/CompartmentDefinition/patient"]
    compartment = {entry["code"]: entry["param"] for entry in patient["resource"] if entry.get("param")}
    return {
        "types.json": table(types),
        "codes.json": table({name: codes(url, resources) for name, url in sorted(value_sets.items())}),
        "systems.json": table(code_systems(resources["CodeSystem"])),
        "valuesets.json": table(composed_value_sets(resources["ValueSet"])),
        "search.json": table(search(resources["SearchParameter"], concrete)),
        "compartment.json": table(dict(sorted(compartment.items()))),
        "summary.json": table(
            {name: found for name in sorted(structures) if (found := summary(structures[name]))}
        ),
        "compartments.json": table(compartments(resources["CompartmentDefinition"])),
    }


def summary(definition: JsonObject) -> JsonObject:
    """Path of a resource or backbone element → names of its elements that belong to a summary."""
    if definition["kind"] != "resource" or definition["abstract"]:
        return {}
    found: JsonObject = {}
    for element in definition["snapshot"]["element"][1:]:
        owner, _, leaf = element["path"].rpartition(".")
        if element.get("isSummary"):
            found.setdefault(owner, []).append(leaf.removesuffix("[x]"))
    return found


def compartments(found: dict[str, JsonObject]) -> JsonObject:
    """Compartment → type → search parameters. ``{def}`` (the resource that the compartment is of) is left out."""
    entries: JsonObject = {}
    for name in ("Device", "Encounter", "Patient", "Practitioner", "RelatedPerson"):
        definition = found[f"http://hl7.org/fhir/CompartmentDefinition/{name[0].lower()}{name[1:]}"]
        params = {
            entry["code"]: [code for code in entry.get("param", ()) if code != "{def}"]
            for entry in definition["resource"]
        }
        entries[name] = {code: listed for code, listed in sorted(params.items()) if listed}
    return entries


def table(entries: JsonObject) -> bytes:
    """One JSON object with one line per key, so that a change of version reads as a change of lines."""
    lines = [
        f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'), ensure_ascii=False)}"
        for key, value in entries.items()
    ]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


# --- types -----------------------------------------------------------------------------------------------


def type_entry(
    definition: JsonObject, structures: dict[str, JsonObject], value_sets: dict[str, str]
) -> JsonObject:
    """``{"kind", "base", "parts": {path: [base, [element…]]}, "invariants": [[key, path, expression]…]}``."""
    name = definition["name"]
    base = definition.get("baseDefinition", "").rpartition("/")[2]
    entry: JsonObject = {"kind": definition["kind"].partition("-")[0], "base": base}
    if definition["kind"] == "primitive-type":
        return entry
    if definition["abstract"]:
        entry["abstract"] = True
    elements = definition["snapshot"]["element"]
    parts: JsonObject = {}
    for element in elements:
        path = element["path"]
        if path == name or (element.get("type") or [{}])[0].get("code") in ("BackboneElement", "Element"):
            part_base = base if path == name else element["type"][0]["code"]
            parts[path] = [part_base, []]
    for element in elements[1:]:
        owner, _, leaf = element["path"].rpartition(".")
        if leaf not in inherited(parts[owner][0], structures):
            parts[owner][1].append(element_row(leaf, element, value_sets))
    entry["parts"] = parts
    entry["invariants"] = list(invariants(name, elements))
    return entry


def inherited(base: str, structures: dict[str, JsonObject]) -> set[str]:
    """The element names that a type has from its base (and the loader adds again)."""
    if base not in structures:
        return set()
    elements = structures[base]["snapshot"]["element"][1:]
    return {element["path"].rpartition(".")[2] for element in elements if element["path"].count(".") == 1}


def element_row(name: str, element: JsonObject, value_sets: dict[str, str]) -> list[Any]:
    """``[name, types, cardinality, required value set, targets, content reference]``, empty tail cut."""
    row: list[Any] = [
        name,
        "|".join(element_types(element)),
        f"{element['min']}..{element['max']}",
        "",
        "",
        "",
    ]
    binding = element.get("binding", {})
    if binding.get("strength") == "required" and "valueSet" in binding:
        url = binding["valueSet"].partition("|")[0]
        row[3] = url.rpartition("/")[2]
        if value_sets.setdefault(row[3], url) != url:
            raise SystemExit(f"two value sets are called {row[3]}")
    targets = [
        target.rpartition("/")[2]
        for kind in element.get("type", [])
        if kind["code"] == "Reference"
        for target in kind.get("targetProfile", [])
    ]
    row[4] = "" if "Resource" in targets else "|".join(targets)
    row[5] = element.get("contentReference", "").removeprefix("#")
    while row[-1] == "":
        row.pop()
    return row


def element_types(element: JsonObject) -> Iterator[str]:
    """Type codes; a Quantity under the SimpleQuantity profile is written ``SimpleQuantity``."""
    if element["path"] == "Resource.id" or (
        element.get("base", {}).get("path") == "Resource.id" and element["path"].count(".") == 1
    ):
        yield "id"  # the definition says string; R4 resource.html#id says id
        return
    for kind in element.get("type", []):
        code = kind["code"]
        if code.startswith(SYSTEM_TYPE):
            said = [item["valueUrl"] for item in kind.get("extension", ()) if item["url"] == FHIR_TYPE]
            code = said[0] if said else code.removeprefix(SYSTEM_TYPE).lower()
        if any(profile.endswith("/SimpleQuantity") for profile in kind.get("profile", ())):
            code = "SimpleQuantity"
        yield code


def invariants(name: str, elements: list[JsonObject]) -> Iterator[list[str]]:
    """The error-severity constraints with a FHIRPath expression, each once per path."""
    for element in elements:
        for constraint in element.get("constraint", ()):
            key = constraint["key"]
            is_base = name in ("Element", "Extension", "DomainResource") and element["path"] == name
            if constraint["severity"] == "error" and (is_base or not REPEATED.fullmatch(key)):
                yield [key, element["path"], " ".join(constraint["expression"].split())]


# --- codes -----------------------------------------------------------------------------------------------


def codes(url: str, resources: dict[str, dict[str, JsonObject]]) -> dict[str, list[str]] | None:
    """System → codes of a value set; None when the package has no codes of it (UCUM, MIME, ISO 4217)."""
    value_set = resources["ValueSet"].get(url)
    if value_set is None:
        return None
    found: dict[str, list[str]] = {}
    for include in value_set["compose"]["include"]:
        if "filter" in include or "valueSet" in include:
            raise SystemExit(f"{url}: a required binding with a filter or an import needs an expansion")
        if "concept" in include:
            listed = [concept["code"] for concept in include["concept"]]
        else:
            system = resources["CodeSystem"].get(include["system"])
            if system is None:
                return None
            if system["content"] != "complete":
                raise SystemExit(f"{url}: {include['system']} is not complete in the package")
            listed = list(concept_codes(system.get("concept", [])))
        known = found.setdefault(include["system"], [])
        known.extend(code for code in listed if code not in known)
    return found


def concept_codes(concepts: list[JsonObject]) -> Iterator[str]:
    """The codes of a concept tree, parents before children."""
    for concept in concepts:
        yield concept["code"]
        yield from concept_codes(concept.get("concept", []))


# --- value sets and code systems for searches ---------------------------------------------------------------


def code_systems(systems: dict[str, JsonObject]) -> JsonObject:
    """URL → ``[code or [code, parent, …], …]`` of each complete code system that HL7 itself defines."""
    return {
        url: concept_rows(system)
        for url, system in sorted(systems.items())
        if url.startswith(OWN_SYSTEMS) and system["content"] == "complete" and system.get("concept")
    }


def concept_rows(system: JsonObject) -> list[Any]:
    """A code alone, or with its parents: by nesting, or by properties."""
    parents: dict[str, list[str]] = {}

    def walk(concepts: list[JsonObject], above: str) -> None:
        for concept in concepts:
            said = concept.get("property", ())
            found = [one["valueCode"] for one in said if one["code"] in ("parent", "subsumedBy")]
            own = parents.setdefault(concept["code"], [])
            own += [code for code in (*([above] if above else []), *found) if code not in own]
            for one in said:
                if one["code"] == "child":
                    below = parents.setdefault(one["valueCode"], [])
                    below += [concept["code"]] if concept["code"] not in below else []
            walk(concept.get("concept", []), concept["code"])

    walk(system["concept"], "")
    return [[code, *above] if above else code for code, above in parents.items()]


def composed_value_sets(value_sets: dict[str, JsonObject]) -> JsonObject:
    """URL → compose, reduced to what decides; null for one that lists codes of others than HL7 and IETF."""
    found: JsonObject = {}
    for url, value_set in sorted(value_sets.items()):
        parts = {
            name: [composed_part(part) for part in value_set["compose"][name]]
            for name in ("include", "exclude")
            if value_set["compose"].get(name)
        }
        is_free = all(
            part.get("system", "").startswith((*OWN_SYSTEMS, "urn:ietf:"))
            for listed in parts.values()
            for part in listed
            if "concept" in part
        )
        found[url] = parts if is_free else None
    return found


def composed_part(part: JsonObject) -> JsonObject:
    """An include or exclude without names and versions of codes."""
    kept: JsonObject = {name: part[name] for name in ("system", "valueSet") if name in part}
    if "concept" in part:
        kept["concept"] = [{"code": concept["code"]} for concept in part["concept"]]
    if "filter" in part:
        kept["filter"] = [{name: one[name] for name in ("property", "op", "value")} for one in part["filter"]]
    return kept


# --- search parameters -----------------------------------------------------------------------------------


def search(parameters: dict[str, JsonObject], concrete: list[str]) -> dict[str, list[list[Any]]]:
    """Resource type (or ``Resource``) → rows ``[code, kind, expression, targets, components]`` by code.

    Left out: parameters without an expression (_text, _content, _query, _filter, and proposals that have
    none) and the two that only illustrate the SearchParameter resource.
    """
    rows: dict[str, dict[str, list[Any]]] = {}
    for parameter in parameters.values():
        if "expression" not in parameter or parameter["id"].startswith("example"):
            continue
        for base in parameter.get("base", ()):
            code = parameter["code"]
            is_own = parameter["id"] == f"{base}-{code}"
            if code not in rows.setdefault(base, {}) or is_own:
                rows[base][code] = search_row(parameter, base, parameters, concrete)
    return {base: [rows[base][code] for code in sorted(rows[base])] for base in sorted(rows)}


def search_row(
    parameter: JsonObject, base: str, parameters: dict[str, JsonObject], concrete: list[str]
) -> list[Any]:
    """One row; the expression keeps the alternatives that can yield something for ``base``."""
    alternatives = [part.strip() for part in parameter["expression"].split("|")]
    others = tuple(name for name in concrete if name != base)
    kept = [part for part in alternatives if root_name(part) not in others]
    if any(part.count("(") != part.count(")") for part in kept):
        raise SystemExit(f"{parameter['id']}: an alternative inside parentheses")
    targets = parameter.get("target", [])
    if set(targets) >= set(concrete) - {"Parameters"}:
        targets = []
    row = [parameter["code"], parameter["type"], " | ".join(kept), "|".join(targets)]
    if "component" in parameter:
        row.append(
            [
                [
                    parameters[item["definition"]]["code"],
                    parameters[item["definition"]]["type"],
                    item["expression"],
                ]
                for item in parameter["component"]
            ]
        )
    return row


def root_name(expression: str) -> str:
    """The first name in an expression: ``(Observation.value as Quantity)`` → ``Observation``."""
    match = re.match(r"\(?\s*([A-Za-z]+)", expression)
    return match[1] if match else ""


if __name__ == "__main__":
    sys.exit(main())
