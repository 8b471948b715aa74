"""Many converted objects to one Converted a study: the ImagingStudy of all instances, everything else once.

The order in which objects are added makes no difference to the ImagingStudy; where two objects tell different things of
one other resource (a patient's name), the first stays, lists are united, and an Issue says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hdg.errors import Issue
from hdg.fhir.ids import resource_id
from hdg.ingestion.converted import Converted, JsonObject
from hdg.ingestion.dicom.study import InstanceFacts, facts_of, imaging_study
from hdg.mapping.context import is_same

__all__ = ["Gathering"]

_APART = frozenset(("ImagingStudy", "Provenance"))


@dataclass(slots=True)
class _Study:
    first: Converted
    facts: dict[str, InstanceFacts] = field(default_factory=dict)
    resources: dict[tuple[str, str], JsonObject] = field(default_factory=dict)
    entities: list[JsonObject] = field(default_factory=list)
    provenance: JsonObject = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)


class Gathering:
    """Owned by one run."""

    def __init__(self, id_key: bytes) -> None:
        self._id_key = id_key
        self._studies: dict[str, _Study] = {}

    def add(self, converted: Converted) -> None:
        """Takes what one object states."""
        facts = facts_of(converted)
        if facts is None:
            return
        study = self._studies.setdefault(facts.study_id, _Study(converted))
        study.facts[facts.statement] = facts
        for resource in converted.resources:
            kind = resource["resourceType"]
            if kind == "Provenance":
                study.entities += [one for one in resource["entity"] if one not in study.entities[-1:]]
                if not study.provenance or resource["recorded"] < study.provenance["recorded"]:
                    study.provenance = resource
            elif kind not in _APART:
                held = study.resources.setdefault((kind, resource["id"]), resource)
                if held is not resource:
                    _unite(held, resource, study.issues)

    def studies(self) -> Iterator[Converted]:
        """One Converted a study, in the order in which their first objects came; Provenance last."""
        for study in self._studies.values():
            made, issues = imaging_study(study.facts.values())
            patients = [one for key, one in study.resources.items() if key[0] == "Patient"]
            others = [one for key, one in study.resources.items() if key[0] != "Patient"]
            resources = [*patients, made, *others]
            yield replace(
                study.first,
                source=replace(
                    study.first.source,
                    control_id=next(iter(study.facts.values())).study_uid,
                    message_type="ImagingStudy",
                    sha256="",
                ),
                resources=(*resources, self._provenance(study, resources)),
                issues=tuple(dict.fromkeys((*study.issues, *issues))),
            )

    def _provenance(self, study: _Study, resources: list[JsonObject]) -> JsonObject:
        made = dict(study.provenance)
        ids = sorted(one.sop_uid for one in study.facts.values())
        source = study.first.source
        made["id"] = resource_id(
            self._id_key, "Provenance", source.institution, ("dicom-study", source.sender, *ids)
        )
        made["target"] = [{"reference": f"{one['resourceType']}/{one['id']}"} for one in resources]
        made["entity"] = sorted(study.entities, key=lambda one: str(one["what"].get("display", "")))
        return made


def _unite(held: JsonObject, other: JsonObject, issues: list[Issue]) -> None:
    for name, value in other.items():
        mine = held.setdefault(name, value)
        if mine is value or mine == value:
            continue
        if isinstance(mine, list) and isinstance(value, list):
            held[name] = [*mine, *(item for item in value if item not in mine)]
        elif not is_same(mine, value):
            kind = held["resourceType"]
            text = f"two objects of a study differ in {name} of one {kind}; the first stays"
            issues.append(Issue("information", "conflict", f"{kind}.{name}", text))
