"""Resources of every R4 type with a token in each place that takes text, made from R4's definitions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from hdg.fhir import definitions
from hdg.fhir.json import Decimal, JsonObject

TOKEN = r"zq[0-9]{6}x"
BASE = "https://own.example/fhir"
ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
DATES = {
    "date": "2015-03-29",
    "dateTime": "2015-03-29T23:45:10.5-05:00",
    "instant": "2015-03-29T23:45:10.125+01:00",
    "time": "08:30:00",
}
NUMBERS = {"boolean": True, "integer": 7, "unsignedInt": 8, "positiveInt": 9, "decimal": Decimal("1.50")}
SPECIAL = {
    "Extension",
    "Narrative",
    "Meta",
    "Resource",
    "Reference",
    "Coding",
    "CodeableConcept",
    "Quantity",
    "Age",
}
SPECIAL |= {"Duration", "Count", "Distance", "Money"}
MAX_DEPTH = 7
LEFT_OUT = {  # of even and of odd variants: what R4's invariants let stand only one at a time
    "CarePlan.activity": ({"reference"}, {"detail"}),
    "FamilyMemberHistory": ({"born"}, {"age", "estimatedAge"}),
    "Observation": ({"dataAbsentReason"}, {"value"}),
    "Observation.component": ({"dataAbsentReason"}, {"value"}),
    "RiskAssessment.prediction": (set[str](), {"probability"}),
    "Timing.repeat": ({"timeOfDay"}, {"when", "offset"}),
}
CHOSEN = {"condition-clinical": "resolved"}  # which goes with an abatement


@dataclass
class Maker:
    """``variant``: which type of each choice, which way to write references and codes. ``is_hostile``: tokens also
    where only a code or a date may stand."""

    variant: int = 0
    is_hostile: bool = False
    counter: Any = field(default_factory=itertools.count)

    def token(self) -> str:
        return f"zq{next(self.counter):06d}x"

    def resource(self, kind: str, is_inner: bool = False) -> JsonObject:
        content: JsonObject = {"resourceType": kind, "id": "inner" if is_inner else self.token()}
        content |= self.complex(kind, 0)
        if not is_inner and "contained" not in content:
            content["contained"] = [self.resource("Medication", True)]
        return content

    def complex(self, owner: str, depth: int) -> JsonObject:
        made: JsonObject = {"id": self.token()} if depth else {}
        for element in definitions.type_definition(owner).elements:
            if element.name in ("id", "contained", "modifierExtension", "implicitRules"):
                continue
            if owner in LEFT_OUT and element.name in LEFT_OUT[owner][self.variant % 2]:
                continue
            names = element.json_names()
            name, kind = names[self.variant % len(names)]
            if kind == "Resource" or (depth > MAX_DEPTH and not element.min):
                continue
            value = self.value(kind, element, depth)
            if owner == "Observation.component" and element.name == "code":
                value["coding"][-1]["code"] = self.token() if self.is_hostile else "8480-6"  # obs-7
            is_primitive = definitions.is_primitive(kind)
            made[name] = [value] if element.is_list else value
            if is_primitive and name != "div":
                beside = {"id": self.token(), "extension": self.extensions()}
                made["_" + name] = [beside] if element.is_list else beside
        return made

    def extensions(self) -> list[JsonObject]:
        return [
            {"url": f"http://{self.token()}.example", "valueString": self.token()},
            {"url": ABSENT, "valueCode": self.token()},
        ]

    def value(self, kind: str, element: definitions.ElementDefinition, depth: int) -> Any:
        if kind in NUMBERS:
            return self.token() if self.is_hostile and self.variant % 2 else NUMBERS[kind]
        if kind in DATES:
            return self.token() if self.is_hostile else DATES[kind]
        if kind == "code":
            return self.code(element.binding)
        if definitions.is_primitive(kind):
            return f"<div>{self.token()}</div>" if kind == "xhtml" else self.token()
        if kind == "SampledData":
            return self.complex(kind, depth + 1) | {"data": self.token() if self.is_hostile else "1 2 E"}
        if kind == "Period":
            moment = self.token() if self.is_hostile else "2015-03-29T01:00:00+02:00"
            return {
                "start": moment,
                "_start": {"extension": self.extensions()},
                "extension": self.extensions(),
            }
        if kind not in SPECIAL:
            return self.complex(kind, depth + 1)
        made: JsonObject = getattr(self, "_" + kind.lower(), self._quantity)(element, kind)
        return made

    def code(self, binding: str) -> str:
        bound = definitions.codes(binding) if binding else None
        if self.is_hostile or not bound:
            return self.token()
        return min(min(codes) for codes in bound.values() if codes)

    def _extension(self, *_: Any) -> JsonObject:
        return self.extensions()[0]

    def _narrative(self, *_: Any) -> JsonObject:
        return {
            "status": "generated",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{self.token()}</div>',
        }

    def _meta(self, *_: Any) -> JsonObject:
        label = {"system": self.token(), "code": self.token(), "display": self.token()}
        urls = {"source": self.token(), "profile": [self.token()]}
        times = {"versionId": self.token(), "lastUpdated": DATES["instant"]}
        return times | urls | {"security": [label], "tag": [label], "extension": self.extensions()}

    def _reference(self, element: definitions.ElementDefinition, _: str) -> JsonObject:
        kind = next(iter(sorted(element.targets)), "Patient")
        ways = [
            f"{kind}/{self.token()}",
            f"{kind}/{self.token()}/_history/{self.token()}",
            f"{BASE}/{kind}/{self.token()}",
            f"https://{self.token()}.example/fhir/{kind}/{self.token()}",
            f"urn:uuid:{self.token()}",
            f"#{self.token()}",
            f"{kind}?identifier={self.token()}",
            "#inner" if not element.targets or "Medication" in element.targets else f"{kind}/{self.token()}",
        ]
        said = {"reference": ways[self.variant % len(ways)], "display": self.token(), "id": self.token()}
        number = {"system": self.token(), "value": self.token(), "assigner": {"display": self.token()}}
        return said | {"identifier": number, "extension": self.extensions()}

    def _coding(self, *_: Any) -> JsonObject:
        systems = (
            self.token(),
            "http://loinc.org",
            "http://snomed.info/sct",
            "http://terminology.hl7.org/CodeSystem/v3-ActCode",
        )
        text = {
            "version": self.token(),
            "display": self.token(),
            "id": self.token(),
            "extension": self.extensions(),
        }
        return {"system": systems[self.variant % 4], "code": self.token(), "userSelected": True} | text

    def _codeableconcept(self, element: definitions.ElementDefinition, _: str) -> JsonObject:
        codings = [self._coding()]
        bound = (
            definitions.codes(element.binding)
            if element.binding
            else {"http://loinc.org": frozenset({"15074-8"})}
        )
        if bound and not self.is_hostile:
            system = min(bound)
            code = CHOSEN.get(element.binding, min(bound[system]))
            codings.append({"system": system, "code": code, "display": self.token()})
        return {"coding": codings, "text": self.token(), "id": self.token(), "extension": self.extensions()}

    def _quantity(self, element: definitions.ElementDefinition, kind: str) -> JsonObject:
        codes = ["a"] if kind in ("Age", "Duration") else ["mg", "mg{" + self.token() + "}"]
        if self.is_hostile:
            codes = [self.token(), "a{" + self.token() + "}"]
        unit = {"system": "http://unitsofmeasure.org", "code": codes[self.variant % len(codes)]}
        order = {} if element.is_simple else {"comparator": self.token() if self.is_hostile else "<"}
        return (
            {"value": 5, "unit": self.token(), "id": self.token(), "extension": self.extensions()}
            | unit
            | order
        )
