"""Records of several patients who refer to each other at random, and questions about them; the same of one seed.

No real people; every reference may lead to what the caller may not see, or to nothing.
"""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from hdg.fhir import definitions
from hdg.usage.fhir_api.parameters import supported

JsonObject = dict[str, Any]

PATIENTS = {"pa": "north", "pb": "north", "pc": "south", "pd": "south", "pe": "north"}
"""Who sent them. ``consents``: pb denies, in part, pe wholly, what they would show to north; pc permits."""
PROJECT = "asthma-1"
CONSENTING = frozenset({"pa", "pc"})
"""To the project."""
CODES = ["718-7", "1-8", "59408-5"]
NOBODYS = ["Practitioner", "Organization", "Location", "Medication", "Substance", "ValueSet"]
TYPES = [
    "Observation",
    "Observation",
    "Observation",
    "Encounter",
    "Encounter",
    "Condition",
    "DiagnosticReport",
    "MedicationRequest",
    "Provenance",
    "Composition",
    "List",
    "Group",
    "DocumentReference",
    "Binary",
    "Task",
    "CareTeam",
    "Appointment",
    "Communication",
    "Procedure",
    "ServiceRequest",
    "Specimen",
    "AllergyIntolerance",
    "Basic",
    "Device",
    "RelatedPerson",
    "Consent",
    "Linkage",
    "Bundle",
    *NOBODYS,
]
LINKS = {
    "Observation": "subject patient encounter performer has-member derived-from focus specimen",
    "Encounter": "subject patient service-provider part-of location participant diagnosis",
    "Condition": "subject patient encounter evidence-detail",
    "DiagnosticReport": "subject patient encounter performer result",
    "MedicationRequest": "subject patient medication requester",
    "Provenance": "target agent entity",
    "Composition": "subject patient encounter author entry",
    "List": "subject patient item",
    "Group": "member",
    "DocumentReference": "subject patient author related",
    "Task": "patient focus owner",
    "CareTeam": "patient participant",
    "Appointment": "patient actor",
    "Communication": "subject patient sender",
    "Procedure": "subject patient",
    "ServiceRequest": "subject patient",
    "Specimen": "subject patient parent",
    "AllergyIntolerance": "patient",
    "Basic": "subject author",
    "Device": "patient organization",
    "RelatedPerson": "patient",
    "Consent": "patient",
    "Patient": "general-practitioner organization link",
    "Organization": "partof",
    "Location": "organization",
    "Medication": "manufacturer",
}
"""Parameters that lead somewhere in these records."""
ENDS = {
    "Patient": ("gender=male", "gender=female", "name=Kim", "birthdate=1950-01-01", "identifier=urn:mrn|1"),
    "Observation": ("code=718-7", "code=1-8", "status=final", "value-quantity=gt4", "date=ge2024-01-10"),
    "Encounter": ("status=finished", "status=planned", "class=AMB"),
    "Condition": ("code=718-7", "code=1-8"),
    "Practitioner": ("name=A", "name=Strange"),
    "Organization": ("name=North", "name=South"),
    "DiagnosticReport": ("status=final", "code=718-7"),
    "MedicationRequest": ("status=active", "intent=order"),
}
"""What finds many."""
SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
PATCH = {"content_type": "application/json-patch+json"}
CLASSES = "http://hl7.org/fhir/resource-types"


def reference(text: str) -> JsonObject:
    return {"reference": text}


def concept(code: str, text: str = "") -> JsonObject:
    found: JsonObject = {"coding": [{"system": "http://loinc.org", "code": code}]}
    return found | ({"text": text} if text else {})


def consents() -> list[JsonObject]:
    """What decides about the patients for north, beside who sent what; stored whatever else is."""

    def made(patient: str, provision: JsonObject, scope: str = "patient-privacy") -> JsonObject:
        return {
            "resourceType": "Consent",
            "id": f"{scope}-{patient}",
            "status": "active",
            "scope": {"coding": [{"system": SCOPE, "code": scope}]},
            "category": [{"text": "x"}],
            "patient": reference(f"Patient/{patient}"),
            "policyRule": {"text": "x"},
            "provision": provision,
        }

    role = {"coding": [{"system": PARTICIPATION, "code": "IRCP"}]}
    project = {"identifier": {"system": "urn:hdg:project", "value": PROJECT}}
    study = {"type": "permit", "actor": [{"role": role, "reference": project}]}
    north = {"actor": [{"role": role, "reference": reference("Organization/north")}]}
    some = {"class": [{"system": CLASSES, "code": name} for name in ("Observation", "List", "Encounter")]}
    return [
        made("pb", {"type": "deny", **north, **some}),
        made("pc", {"type": "permit", **north}),
        made("pe", {"type": "deny", **north}),
        *(made(name, study, "research") for name in sorted(CONSENTING)),
    ]


@dataclass(slots=True)
class Event:
    """One write: a version of a resource, or (``content`` None) its deletion."""

    type: str
    id: str
    institution: str
    patient: str | None
    content: JsonObject | None = field(repr=False)

    @property
    def place(self) -> tuple[str, str]:
        return self.type, self.id


class Records:
    """``events``: what is written, in this order; ``places``: all that is named, with whose and from where."""

    def __init__(self, seed: int, count: int = 120) -> None:
        self._chance = random.Random(seed)
        chance = self._chance
        self.places: dict[tuple[str, str], tuple[str | None, str]] = {
            ("Patient", name): (name, home) for name, home in PATIENTS.items()
        }
        for number in range(count):
            type_ = chance.choice(TYPES)
            owner = None if type_ in NOBODYS or chance.random() < 0.08 else chance.choice(sorted(PATIENTS))
            self.places[type_, f"r{number}"] = owner, chance.choice(("north", "south"))
        self.names = [f"{type_}/{id_}" for type_, id_ in self.places]
        order = list(self.places)
        chance.shuffle(order)
        self.events = [self._event(*place) for place in order]
        self.events += [self._event(*place) for place in chance.sample(order, count // 4)]
        self.events += [
            Event(*place, self.places[place][1], self.places[place][0], None)
            for place in chance.sample([one for one in order if one[0] != "Patient"], count // 12)
        ]
        self.events += self._moved()

    def _event(self, type_: str, id_: str) -> Event:
        owner, home = self.places[type_, id_]
        return Event(type_, id_, home, owner, self.content(type_, id_, owner))

    def _moved(self) -> list[Event]:
        """Results that were a visible patient's and turned out to be a hidden one's."""
        found = []
        for number in range(3):
            name = f"moved{number}"
            self.places["Observation", name] = "pd", "south"
            for owner, home in (("pa", "north"), ("pd", "south")):
                found.append(
                    Event("Observation", name, home, owner, self.content("Observation", name, owner))
                )
        return found

    # --- contents -------------------------------------------------------------------------------------------

    def content(self, type_: str, id_: str, owner: str | None) -> JsonObject:
        """A resource of that type, about that patient; another one each time."""
        made = getattr(self, f"_{type_.lower()}")(reference(f"Patient/{owner}") if owner else None)
        content = {"resourceType": type_, "id": id_, **made}
        if self._chance.random() < 0.3 and type_ not in ("Binary", "Bundle"):
            text = self._chance.choice(("fever", "bleeding")) + f" of {owner}"
            div = f'<div xmlns="http://www.w3.org/1999/xhtml">{text}</div>'
            content["text"] = {"status": "generated", "div": div}
        return {name: value for name, value in content.items() if value not in (None, [])}

    def _some(self, *types: str, most: int = 1) -> list[JsonObject]:
        """Up to so many references to any of the types ('': to anything)."""
        chance = self._chance
        known = [name for name in self.names if not types or name.partition("/")[0] in types]
        count = chance.choice((most, chance.randint(0, most)))
        return [reference(chance.choice(known)) for _ in range(count) if known]

    def _one(self, *types: str) -> JsonObject | None:
        return next(iter(self._some(*types)), None)

    def _day(self) -> str:
        return f"2024-01-{self._chance.randint(1, 28):02}"

    def _code(self) -> JsonObject:
        return concept(self._chance.choice(CODES), self._chance.choice(("", "Haemoglobin", "Fever")))

    def _patient(self, _: object) -> JsonObject:
        family = self._chance.choice(("Adler", "Bauer", "Chen"))
        return {
            "identifier": [{"system": "urn:mrn", "value": self._chance.choice("123")}],
            "name": [{"family": family, "given": ["Kim"]}],
            "birthDate": "19" + self._chance.choice(("50", "70")) + "-01-01",
            "gender": self._chance.choice(("male", "female")),
            "generalPractitioner": self._some("Practitioner", "Organization"),
            "managingOrganization": self._one("Organization"),
            "link": [{"other": one, "type": "seealso"} for one in self._some("Patient")],
        }

    def _observation(self, subject: JsonObject | None) -> JsonObject:
        value = {"value": self._chance.randint(1, 9), "code": "g/dL", "system": "http://unitsofmeasure.org"}
        return {
            "status": self._chance.choice(("final", "amended", "entered-in-error")),
            "category": [{"coding": [{"code": self._chance.choice(("laboratory", "vital-signs"))}]}],
            "code": self._code(),
            "subject": subject,
            "encounter": self._one("Encounter"),
            "focus": self._some(),
            "performer": self._some("Practitioner", "Organization", "CareTeam"),
            "hasMember": self._some("Observation", most=2),
            "derivedFrom": self._some("Observation", "DocumentReference"),
            "specimen": self._one("Specimen"),
            "effectiveDateTime": self._day(),
            **({"valueQuantity": value} if self._chance.random() < 0.7 else {}),
        }

    def _encounter(self, subject: JsonObject | None) -> JsonObject:
        return {
            "status": self._chance.choice(("finished", "planned")),
            "class": {"code": "AMB"},
            "subject": subject,
            "serviceProvider": self._one("Organization"),
            "partOf": self._one("Encounter"),
            "location": [{"location": one} for one in self._some("Location")],
            "participant": [{"individual": one} for one in self._some("Practitioner", "RelatedPerson")],
            "diagnosis": [{"condition": one} for one in self._some("Condition")],
            "period": {"start": self._day()},
        }

    def _condition(self, subject: JsonObject | None) -> JsonObject:
        return {
            "code": self._code(),
            "subject": subject or {"display": "x"},
            "encounter": self._one("Encounter"),
            "recorder": self._one("Practitioner", "Patient"),
            "evidence": [{"detail": [one]} for one in self._some()],
            "recordedDate": self._day(),
        }

    def _diagnosticreport(self, subject: JsonObject | None) -> JsonObject:
        return {
            "status": "final",
            "code": self._code(),
            "subject": subject,
            "encounter": self._one("Encounter"),
            "performer": self._some("Practitioner", "Organization"),
            "result": self._some("Observation", most=3),
            "basedOn": self._some("ServiceRequest"),
        }

    def _medicationrequest(self, subject: JsonObject | None) -> JsonObject:
        return {
            "status": "active",
            "intent": "order",
            "subject": subject or {"display": "x"},
            "medicationReference": self._one("Medication") or {"display": "x"},
            "requester": self._one("Practitioner", "Patient"),
            "reasonReference": self._some("Condition", "Observation"),
        }

    def _provenance(self, _: object) -> JsonObject:
        return {
            "target": self._some(most=3) or [{"display": "x"}],
            "recorded": "2024-01-01T00:00:00Z",
            "agent": [{"who": self._one("Practitioner", "Patient") or {"display": "x"}}],
            "entity": [{"role": "source", "what": one} for one in self._some()],
        }

    def _composition(self, subject: JsonObject | None) -> JsonObject:
        return {
            "status": "final",
            "type": self._code(),
            "subject": subject,
            "encounter": self._one("Encounter"),
            "date": self._day(),
            "author": self._some("Practitioner", "Patient") or [{"display": "x"}],
            "title": "Letter",
            "section": [{"title": "x", "entry": self._some(most=5) or [{"display": "x"}]}],
        }

    def _list(self, subject: JsonObject | None) -> JsonObject:
        return {
            "status": "current",
            "mode": "working",
            "subject": subject,
            "entry": [{"item": one} for one in self._some(most=8)],
        }

    def _group(self, _: object) -> JsonObject:
        return {
            "type": "person",
            "actual": True,
            "member": [{"entity": one} for one in self._some("Patient", most=2)],
        }

    def _documentreference(self, subject: JsonObject | None) -> JsonObject:
        binary = self._one("Binary") or reference("Binary/none")
        return {
            "status": "current",
            "type": self._code(),
            "subject": subject,
            "author": self._some("Practitioner", "Patient"),
            "content": [{"attachment": {"url": binary["reference"], "contentType": "text/plain"}}],
            "context": {"related": self._some() or [{"display": "x"}]},
        }

    def _binary(self, subject: JsonObject | None) -> JsonObject:
        data = base64.b64encode(self._day().encode()).decode()
        return {"contentType": "text/plain", "data": data, "securityContext": subject}

    def _task(self, subject: JsonObject | None) -> JsonObject:
        return {
            "status": "requested",
            "intent": "order",
            "for": subject,
            "focus": self._one(),
            "owner": self._one("Practitioner", "Patient"),
            "basedOn": self._some("ServiceRequest"),
        }

    def _careteam(self, subject: JsonObject | None) -> JsonObject:
        members = self._some("Practitioner", "Patient", "Organization", most=2)
        return {"subject": subject, "participant": [{"member": one} for one in members]}

    def _appointment(self, subject: JsonObject | None) -> JsonObject:
        actors = [one for one in (subject, *self._some("Practitioner", "Location", "Patient")) if one]
        participants = [{"actor": one, "status": "accepted"} for one in actors]
        return {"status": "booked", "participant": participants or [{"status": "accepted"}]}

    def _communication(self, subject: JsonObject | None) -> JsonObject:
        return {
            "status": "completed",
            "subject": subject,
            "about": self._some(),
            "sender": self._one("Practitioner", "Patient"),
            "payload": [{"contentReference": one} for one in self._some()],
        }

    def _procedure(self, subject: JsonObject | None) -> JsonObject:
        return {
            "status": "completed",
            "subject": subject or {"display": "x"},
            "code": self._code(),
            "report": self._some("DiagnosticReport"),
            "performedDateTime": self._day(),
        }

    def _servicerequest(self, subject: JsonObject | None) -> JsonObject:
        return {
            "status": "active",
            "intent": "order",
            "subject": subject or {"display": "x"},
            "code": self._code(),
            "supportingInfo": self._some(),
        }

    def _specimen(self, subject: JsonObject | None) -> JsonObject:
        return {"subject": subject, "parent": self._some("Specimen"), "request": self._some("ServiceRequest")}

    def _allergyintolerance(self, subject: JsonObject | None) -> JsonObject:
        return {
            "patient": subject or {"display": "x"},
            "code": self._code(),
            "recorder": self._one("Patient"),
        }

    def _basic(self, subject: JsonObject | None) -> JsonObject:
        return {"code": self._code(), "subject": self._one() or subject, "author": self._one("Practitioner")}

    def _device(self, subject: JsonObject | None) -> JsonObject:
        return {"patient": subject, "status": "active", "owner": self._one("Organization")}

    def _relatedperson(self, subject: JsonObject | None) -> JsonObject:
        return {"patient": subject or {"display": "x"}, "name": [{"family": "Adler"}]}

    def _consent(self, subject: JsonObject | None) -> JsonObject:
        """One that decides nothing for anybody who asks."""
        role = {"coding": [{"system": PARTICIPATION, "code": "IRCP"}]}
        actor = {"role": role, "reference": reference("Organization/west")}
        return {
            "status": self._chance.choice(("active", "inactive")),
            "scope": {"coding": [{"system": SCOPE, "code": "patient-privacy"}]},
            "category": [{"text": "x"}],
            "patient": subject,
            "policyRule": {"text": "x"},
            "provision": {"type": self._chance.choice(("permit", "deny")), "actor": [actor]},
        }

    def _linkage(self, _: object) -> JsonObject:
        items = [{"type": "source", "resource": one} for one in self._some(most=2)]
        return {"item": items or [{"type": "source", "resource": {"display": "x"}}]}

    def _bundle(self, subject: JsonObject | None) -> JsonObject:
        inner = {"resourceType": "Observation", "id": "inner", **self._observation(subject)}
        content = {name: value for name, value in inner.items() if value not in (None, [])}
        return {"type": "collection", "entry": [{"fullUrl": "urn:uuid:" + "0" * 36, "resource": content}]}

    def _practitioner(self, _: object) -> JsonObject:
        return {"name": [{"family": self._chance.choice(("Adler", "Strange"))}]}

    def _organization(self, _: object) -> JsonObject:
        return {"name": self._chance.choice(("North", "South")), "partOf": self._one("Organization")}

    def _location(self, _: object) -> JsonObject:
        return {"name": "Ward", "managingOrganization": self._one("Organization")}

    def _medication(self, _: object) -> JsonObject:
        return {"code": self._code(), "manufacturer": self._one("Organization")}

    def _substance(self, _: object) -> JsonObject:
        return {"code": self._code()}

    def _valueset(self, _: object) -> JsonObject:
        include = [{"system": "http://loinc.org", "concept": [{"code": self._chance.choice(CODES)}]}]
        url = f"urn:vs:{self._chance.choice('ab')}"
        return {"status": "active", "url": url, "compose": {"include": include}}


Request = tuple[str, str, Any, dict[str, str]]
"""Method, path, body, headers (with ``_`` for ``-``)."""


class Naming(Protocol):
    """(type, id) → the id by which the caller knows it."""

    def __call__(self, type_: str, id_: str) -> str:
        """The id."""


class Questions:
    """GETs about records, one after the other: paths from ``/fhir`` on."""

    def __init__(self, records: Records, seed: int, naming: Naming) -> None:
        self._chance = random.Random(seed)
        self._types = sorted({type_ for type_, _ in records.places})
        self._named = [(type_, naming(type_, id_)) for type_, id_ in sorted(records.places)]
        self._names = [f"{type_}/{id_}" for type_, id_ in self._named]
        self._patients = [id_ for type_, id_ in self._named if type_ == "Patient"]

    def next(self) -> str:
        """The next one."""
        kind = self._chance.choice(
            [self._search] * 7 + [self._read, self._operation, self._several, self._history]
        )
        return kind()

    def _search(self) -> str:
        type_ = self._chance.choice((*ENDS, *self._types))
        place = f"/fhir/{type_}"
        if self._chance.random() < 0.15:
            of, id_ = self._chance.choice(
                [one for one in self._named if one[0] in definitions.compartments()]
            )
            place = f"/fhir/{of}/{id_}/{self._chance.choice((type_, '*'))}"
        return f"{place}?{self._query(type_, place.endswith('*'))}"

    def _query(self, type_: str, is_any: bool = False) -> str:
        chance = self._chance
        pairs = [] if is_any else [self._pair(type_) for _ in range(chance.choice((0, 1, 1, 1, 2)))]
        for chosen, made in (
            (0.4, self._include),
            (0.3, self._sort),
            (0.3, self._result),
            (0.1, self._filter),
        ):
            if chance.random() < chosen and not is_any:
                pairs.append(made(type_))
        pairs.append(("_count", chance.choice(("0", "2", "100", "100"))))
        if chance.random() < 0.5:
            pairs.append(("_total", "accurate"))
        return "&".join(f"{name}={quote(value, safe='/|:,')}" for name, value in pairs)

    def _pair(self, type_: str, depth: int = 0) -> tuple[str, str]:
        chance = self._chance
        if depth < 3 and chance.random() < 0.35 and type_ in LINKS:
            link = self._link(type_)
            target = chance.choice(self._targets(type_, link))
            name, value = self._pair(target, depth + 1)
            return f"{link}:{target}.{name}", value
        if depth < 3 and chance.random() < 0.35:
            ways = [
                (of, link) for of in LINKS for link in LINKS[of].split() if type_ in self._targets(of, link)
            ]
            if ways:
                source, link = chance.choice(ways)
                name, value = self._pair(source, depth + 1)
                return f"_has:{source}:{link}:{name}", value
        if depth == 0 and chance.random() < 0.1:
            return "_list", chance.choice([id_ for of, id_ in self._named if of == "List"] or ["x"])
        if chance.random() < 0.75:
            name, _, value = chance.choice(ENDS.get(type_, ("_lastUpdated=ge2020",))).partition("=")
            return name, value
        known = supported(type_)
        codes = sorted(known, key=lambda code: (known[code] not in ("reference", "token", "date"), code))
        code = chance.choice(codes[: max(8, len(codes) * 2 // 3)])
        return self._valued(code, known[code])

    def _targets(self, type_: str, link: str) -> list[str]:
        """What R4 lets the parameter name, of what is here."""
        (found,) = [one.targets for one in definitions.search_parameters(type_) if one.code == link]
        return [one for one in self._types if not found or one in found] or ["Patient"]

    def _link(self, type_: str) -> str:
        return self._chance.choice(LINKS[type_].split())

    def _valued(self, code: str, kind: str) -> tuple[str, str]:
        chance = self._chance
        if chance.random() < 0.15:
            return f"{code}:missing", chance.choice(("true", "false"))
        if kind == "token":
            modifier = chance.choice(("", "", "", ":not", ":in", ":not-in", ":text"))
            if modifier in (":in", ":not-in"):
                sets = [f"ValueSet/{id_}" for of, id_ in self._named if of == "ValueSet"]
                return code + modifier, chance.choice(["urn:vs:a", "urn:vs:b", *sets])
            return code + modifier, chance.choice([*CODES, "final", "urn:mrn|1", "finished", "male", "fever"])
        if kind == "reference":
            return code, ",".join(chance.sample(self._names, chance.choice((1, 3))))
        if kind == "date":
            return code, chance.choice(("", "ge", "lt", "ne")) + f"2024-01-{chance.randint(1, 28):02}"
        if kind in ("number", "quantity"):
            return code, chance.choice(("gt3", "lt6", "5"))
        return code, chance.choice(("A", "Kim", "North", "Letter", "urn:vs:a"))

    def _include(self, type_: str) -> tuple[str, str]:
        chance = self._chance
        name = chance.choice(("_include", "_revinclude", "_include:iterate", "_revinclude:iterate"))
        if chance.random() < 0.3 and ":" not in name:
            return name, "*"
        source = type_ if type_ in LINKS and not name.startswith("_rev") else chance.choice(sorted(LINKS))
        return name, f"{source}:{self._link(source)}"

    def _sort(self, type_: str) -> tuple[str, str]:
        kinds = supported(type_)
        codes = [code for code in sorted(kinds) if kinds[code] not in ("composite", "special")]
        keys = self._chance.sample(codes, min(len(codes), self._chance.choice((1, 2))))
        return "_sort", ",".join(self._chance.choice(("", "-")) + key for key in keys)

    def _result(self, _: str) -> tuple[str, str]:
        return self._chance.choice(
            (("_summary", "true"), ("_summary", "count"), ("_summary", "data"), ("_elements", "code,subject"),
             ("_format", "xml"), ("_pretty", "true"))
        )  # fmt: skip

    def _filter(self, type_: str) -> tuple[str, str]:
        code = self._link(type_) if type_ in LINKS else "_id"
        text = (
            f"{code} {self._chance.choice(('eq ' + self._chance.choice(self._names), 'pr true', 'pr false'))}"
        )
        return "_filter", self._chance.choice((text, f"not ({text})"))

    def _read(self) -> str:
        type_, id_ = self._chance.choice(self._named)
        tail = self._chance.choice(("", "", "/_history/1", "/_history/2", "?_summary=true", "?_format=xml"))
        return f"/fhir/{type_}/{id_}{tail}"

    def _history(self) -> str:
        type_, id_ = self._chance.choice(self._named)
        place = self._chance.choice((f"{type_}/{id_}/", f"{type_}/", ""))
        time = self._chance.choice(("", "", "&_since=2027-01-15T08:01:30Z", "&_at=2027-01-15T08:02:00Z"))
        return f"/fhir/{place}_history?_count={self._chance.choice((1, 7, 100))}{time}"

    def _operation(self) -> str:
        chance = self._chance
        type_, id_ = chance.choice(self._named)
        patient, by = chance.choice(self._patients), chance.choice(CODES)
        letters = [name for of, name in self._named if of == "Composition"] or ["x"]
        encounters = [name for of, name in self._named if of == "Encounter"] or ["x"]
        return "/fhir/" + chance.choice(
            (
                f"Patient/{patient}/$everything?_count={chance.choice((2, 9, 100))}",
                f"Patient/{patient}/$everything?_type=Observation,Provenance&_since=2027-01-15T08:01:30Z",
                f"Encounter/{chance.choice(encounters)}/$everything",
                f"Observation/$lastn?patient={patient}&code={by}&max={chance.choice((1, 2, 99))}",
                f"Observation/$stats?subject=Patient/{patient}&coding=http://loinc.org|{by}&statistic=average&statistic=count",
                f"Composition/{chance.choice(letters)}/$document",
                f"{type_}/{id_}/$meta",
                f"{type_}/{id_}/$validate",
                f"Patient/{patient}/$ccd",
            )
        )

    def _several(self) -> str:
        types = ",".join(sorted(set(self._chance.sample(self._types, 3))))
        return "/fhir?" + self._chance.choice(
            (
                f"_type={types}&_count=5",
                f"_id={self._chance.choice(self._named)[1]}",
                f"_type={types}&_sort=-_lastUpdated&_count=4",
                f"_type={types}&_revinclude=*&_count=50",
                "_count=20",
            )
        )


class Writes(Questions):
    """Changes of records, and what depends on what is there: conditions, transactions, checks."""

    def __init__(self, records: Records, seed: int) -> None:
        super().__init__(records, seed, lambda _, id_: id_)
        self._records = records

    def request(self) -> Request:
        """The next one."""
        kinds = [self._by_id, self._by_id, self._by_condition, self._by_condition, self._bundle, self._meta]
        return self._chance.choice(kinds)()

    def _resource(self, type_: str, id_: str) -> JsonObject:
        owner, _ = self._records.places[type_, id_]
        return self._records.content(type_, id_, owner)

    def _by_id(self) -> Request:
        type_, id_ = self._chance.choice(self._named)
        headers = self._chance.choice(
            [{}, {}, {"if_match": 'W/"1"'}, {"if_match": 'W/"2"'}, {"if_none_match": "*"}, {"if_match": "*"}]
        )
        method = self._chance.choice(("PUT", "PUT", "DELETE", "PATCH", "POST"))
        place = f"/fhir/{type_}/{id_}"
        if method == "PATCH":
            return method, place, [{"op": "test", "path": "/id", "value": id_}], {**headers, **PATCH}
        if method == "POST":
            return method, f"/fhir/{type_}", self._resource(type_, id_), {}
        return method, place, self._resource(type_, id_) if method == "PUT" else None, headers

    def _condition(self, type_: str) -> str:
        name, value = self._pair(type_)
        return f"{name}={quote(value, safe='/|:,')}"

    def _by_condition(self) -> Request:
        type_, id_ = self._chance.choice(self._named)
        query = self._condition(type_)
        place = f"/fhir/{type_}?{query}"
        method = self._chance.choice(("POST", "POST", "PUT", "DELETE", "PATCH", "_search"))
        if method == "_search":
            form = {"content_type": "application/x-www-form-urlencoded"}
            return "POST", f"/fhir/{type_}/_search?{query}&_count=3", None, form
        if method == "PATCH":
            return method, place, [{"op": "test", "path": "/resourceType", "value": type_}], PATCH
        content = self._resource(type_, id_)
        if method == "POST":
            return method, f"/fhir/{type_}", content, {"if_none_exist": query}
        del content["id"]
        return method, place, content if method == "PUT" else None, {}

    def _bundle(self) -> Request:
        chance = self._chance
        entries = []
        for _ in range(chance.choice((1, 2, 4))):
            method, path, content, headers = chance.choice((self._by_id, self._by_condition))()
            url = path.removeprefix("/fhir/")
            if "_search" in url or isinstance(content, list) or chance.random() < 0.4:
                method, url, content = "GET", self.next().removeprefix("/fhir/").removeprefix("/fhir"), None
            entry: JsonObject = {"request": {"method": method, "url": url or "Patient"}}
            for name, header in (("ifNoneExist", "if_none_exist"), ("ifMatch", "if_match")):
                if header in headers and method != "GET":
                    entry["request"][name] = headers[header]
            if content is not None:
                self._refer(content)
                entry["resource"] = content
            entries.append(entry)
        bundle = {"resourceType": "Bundle", "type": chance.choice(("batch", "transaction")), "entry": entries}
        return "POST", "/fhir", bundle, chance.choice([{}, {"prefer": "return=representation"}])

    def _refer(self, content: JsonObject) -> None:
        """Now and then by a condition."""
        if "subject" in content and self._chance.random() < 0.5:
            query = self._chance.choice(
                ("identifier=urn:mrn|1", "_id=pd", "family=Adler&birthdate=1950-01-01")
            )
            content["subject"] = reference(f"Patient?{query}")

    def _meta(self) -> Request:
        type_, id_ = self._chance.choice(self._named)
        tag = {
            "resourceType": "Parameters",
            "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "x"}]}}],
        }
        place = f"/fhir/{type_}/{id_}"
        if self._chance.random() < 0.5:
            return "POST", f"{place}/{self._chance.choice(('$meta-add', '$meta-delete'))}", tag, {}
        mode = self._chance.choice(("create", "update", "delete"))
        return "POST", f"{place}/$validate?mode={mode}", self._resource(type_, id_), {}
