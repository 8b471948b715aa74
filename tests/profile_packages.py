"""Profiles, value sets and packages made for tests. All content is invented."""

from __future__ import annotations

import io
import tarfile

from hdg.fhir import json

BASE = "https://profiles.example/"
SYSTEM = "https://codes.example/lab"


def structure(name, type_, elements, *, base="", view="differential", **more):
    """A StructureDefinition: elements as (id, what it says)."""
    made = []
    for id_, says in elements:
        parts = [part.partition(":") for part in id_.split(".")]
        path = ".".join(part for part, _, _ in parts)
        slice_ = {"sliceName": parts[-1][2]} if parts[-1][2] else {}
        made.append({"id": id_, "path": path, **slice_, **says})
    return {
        "resourceType": "StructureDefinition",
        "url": BASE + name,
        "version": "1.0.0",
        "name": name,
        "status": "active",
        "fhirVersion": "4.0.1",
        "kind": "complex-type" if type_ == "Extension" else "resource",
        "abstract": False,
        "type": type_,
        "baseDefinition": base or f"http://hl7.org/fhir/StructureDefinition/{type_}",
        "derivation": "constraint",
        view: {"element": made},
        **more,
    }


def value_set(name, *includes, **more):
    compose = {"compose": {"include": list(includes)}} if includes else {}
    return {"resourceType": "ValueSet", "url": BASE + name, "status": "active", **compose, **more}


def code_system(*concepts, content="complete"):
    return {
        "resourceType": "CodeSystem",
        "url": SYSTEM,
        "status": "active",
        "content": content,
        "concept": list(concepts),
    }


def invariant(key, expression, severity="error"):
    return {"key": key, "severity": severity, "human": f"rule {key}", "expression": expression}


def package(resources, *, name="example.lab", version="1.0.0", manifest=None, files=(), links=()):
    """The bytes of a package file. ``files``: more (path, bytes); ``links``: (path, target)."""
    about = {"name": name, "version": version, "fhirVersions": ["4.0.1"]} if manifest is None else manifest
    listed = [("package/package.json", about if isinstance(about, bytes) else json.dumps(about))]
    for number, resource in enumerate(resources):
        listed.append((f"package/{resource['resourceType']}-{number}.json", json.dumps(resource)))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, data in (*listed, *files):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for path, target in links:
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return out.getvalue()
