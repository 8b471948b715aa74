"""The answer to an immunization history query: RSP^K11 of profile Z32, Z31 or Z33. Pure.

HL7 v2.9 §5.4.2, §5.5.2 (QAK); CDC HL7 v2.5.1 Implementation Guide for Immunization Messaging, release 1.5. From
FHIR R4 back to segments: what a table of mappings/ makes of a VXU, as far as v2 can say it here. Not carried:
notes, reactions, education documents, and performers (docs/hl7v2.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hdg.errors import Hl7v2Error
from hdg.ingestion.hl7v2 import charset as charsets
from hdg.ingestion.hl7v2.ack import Code, Header, error_segment, read_header
from hdg.ingestion.hl7v2.encoding import STANDARD, escape, translate
from hdg.ingestion.hl7v2.query import HISTORY, Asked

__all__ = ["Answer", "Record", "respond"]

JsonObject = dict[str, Any]

_SYSTEMS = {
    "http://hl7.org/fhir/sid/cvx": "CVX",
    "http://hl7.org/fhir/sid/mvx": "MVX",
    "http://hl7.org/fhir/sid/ndc": "NDC",
    "http://www.ama-assn.org/go/cpt": "C4",
    "http://loinc.org": "LN",
    "http://snomed.info/sct": "SCT",
    "http://unitsofmeasure.org": "UCUM",
    "urn:oid:2.16.840.1.113883.6.310": "NIP001",
    "urn:oid:2.16.840.1.114222.4.5.274": "CDCPHINVS",
}
_TABLE = "http://terminology.hl7.org/CodeSystem/v2-"
_ORIGINAL = "http://hl7.org/fhir/StructureDefinition/originalText"
_SEXES = {"female": "F", "male": "M", "other": "O", "unknown": "U"}
_ELIGIBILITY = "64994-7^Vaccine funding program eligibility category^LN"
_FUNDING = "30963-3^Vaccine funding source^LN"
_DOSE = "30973-2^Dose number in series^LN"
_SERIES = "59782-3^Number of doses in primary series^LN"
_UNKNOWN_AMOUNT = "999"
_PROFILES = {"OK": "Z32", "LIST": "Z31", "NF": "Z33", "TM": "Z33", "AE": "Z33", "AR": "Z33"}


@dataclass(frozen=True, slots=True)
class Record:
    """A patient and the immunizations that may be told; ``makers``: Organization id → Organization."""

    patient: JsonObject
    immunizations: Sequence[JsonObject] = ()
    makers: Mapping[str, JsonObject] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """``status``: OK (one record with its history), LIST (candidates, without histories), NF, TM, AE, AR."""

    status: str
    records: Sequence[Record] = ()
    errors: Sequence[Hl7v2Error] = ()


def respond(raw: bytes, asked: Asked | None, answer: Answer, *, control_id: str, at_us: int) -> bytes:
    """The RSP to ``raw``, ending with CR, not framed; in its delimiters. ``asked``: None when unreadable.

    In the query's character set, else (a name that it cannot write) in UTF-8, as MSH-18 then says.
    """
    header = read_header(raw)
    target = header.delimiters
    code: Code = "AR" if answer.status == "AR" else "AE" if answer.status == "AE" else "AA"
    body = [f"MSA{target.field}{code}{target.field}{header.field(10)}"]
    body += [error_segment(header, error) for error in answer.errors]
    found = _query_segments(asked, answer)
    for record in answer.records:
        found += _record(record, is_list=answer.status == "LIST")
    body += [translate(line, STANDARD, target) for line in found]

    def written(charset: str) -> str:
        lines = [_msh(header, control_id, at_us, charset, _PROFILES[answer.status]), *body]
        return "".join(f"{line}\r" for line in lines)

    try:
        return header.mark + charsets.encode(written(header.field(18)), header.charset)
    except UnicodeEncodeError:
        return written("UNICODE UTF-8").encode()


def _msh(header: Header, control_id: str, at_us: int, charset: str, profile: str) -> str:
    target = header.delimiters
    moment = datetime.fromtimestamp(at_us // 1_000_000, UTC)
    own = [f"{moment:%Y%m%d%H%M%S}+0000", "", "RSP^K11^RSP_K11", escape(control_id)]
    fields = [header.field(5), header.field(6), header.field(3), header.field(4)]
    fields += [translate(text, STANDARD, target) for text in own]
    fields += [header.field(11) or "P", header.field(12) or "2.5.1", "", "", "NE", "NE", "", charset, "", ""]
    fields.append(translate(f"{profile}^CDCPHINVS", STANDARD, target))
    return f"MSH{target.field}{target.msh_2}" + target.field + target.field.join(fields)


def _query_segments(asked: Asked | None, answer: Answer) -> list[str]:
    status = "OK" if answer.status == "LIST" else answer.status
    if asked is None:
        return [f"QAK||{status}|{HISTORY}^Request Immunization History^CDCPHINVS"]
    counts = f"|{len(answer.records)}|{len(answer.records)}|0" if answer.records else ""
    return [f"QAK|{asked.tag}|{status}|{asked.name}{counts}", asked.parameters]


def _record(record: Record, *, is_list: bool) -> Iterator[str]:
    yield _pid(record.patient)
    if not is_list:
        for number, immunization in enumerate(record.immunizations, 1):
            yield from _order(immunization, record.makers or {}, number)


def _segment(name: str, fields: Mapping[int, str]) -> str:
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields, default=0) + 1))])


def _parts(*parts: str) -> str:
    return "^".join(map(escape, parts)).rstrip("^")


def _pid(patient: JsonObject) -> str:
    names = [
        _parts(name.get("family", ""), (given := [*name.get("given", ()), "", ""])[0], given[1])
        for name in patient.get("name", ())
        if name.get("family")
    ]
    addresses = [
        _parts(
            *[*address.get("line", ()), "", ""][:2],
            address.get("city", ""),
            address.get("state", ""),
            address.get("postalCode", ""),
            address.get("country", ""),
        )
        for address in patient.get("address", ())
    ]
    fields = {
        1: "1",
        3: "~".join(filter(None, map(_cx, patient.get("identifier", ())))),
        5: "~".join(names),
        7: patient.get("birthDate", "").replace("-", ""),
        8: _SEXES.get(patient.get("gender", ""), ""),
        11: "~".join(filter(None, addresses)),
    }
    return _segment("PID", fields)


def _cx(identifier: JsonObject) -> str:
    if not identifier.get("value"):
        return ""
    kind = next((item["code"] for item in identifier.get("type", {}).get("coding", ()) if "code" in item), "")
    namespace = escape(identifier.get("assigner", {}).get("display", ""))
    return f"{escape(identifier['value'])}^^^{_hd(namespace, identifier.get('system', ''))}^{escape(kind)}".rstrip(
        "^"
    )


def _hd(namespace: str, system: str) -> str:
    for prefix, kind in (("urn:oid:", "ISO"), ("urn:uuid:", "UUID")):
        if system.startswith(prefix):
            return f"{namespace}&{escape(system.removeprefix(prefix))}&{kind}"
    return f"{namespace}&{escape(system)}&URI" if system else namespace


def _order(immunization: JsonObject, makers: Mapping[str, JsonObject], number: int) -> Iterator[str]:
    yield _segment("ORC", _numbers(immunization) | {1: "RE", 9: _time(immunization.get("recorded", ""))})
    yield _rxa(immunization, makers)
    route = _coded(immunization.get("route"))
    if route:
        yield _segment("RXR", {1: route, 2: _coded(immunization.get("site"))})
    yield from _observations(immunization)


def _numbers(immunization: JsonObject) -> dict[int, str]:
    """ORC-2 and ORC-3: as they came in, else our own id as the filler's number."""
    found: dict[int, str] = {}
    for identifier in immunization.get("identifier", ()):
        codes = {item.get("code") for item in identifier.get("type", {}).get("coding", ())}
        place = 2 if "PLAC" in codes else 3 if "FILL" in codes else 0
        if place and place not in found and identifier.get("value"):
            authority = _hd(
                escape(identifier.get("assigner", {}).get("display", "")), identifier.get("system", "")
            )
            found[place] = f"{escape(identifier['value'])}^{authority.replace('&', '^')}".rstrip("^")
    found.setdefault(3, f"{immunization['id']}^HDG")
    return found


def _rxa(immunization: JsonObject, makers: Mapping[str, JsonObject]) -> str:
    given_at = _time(immunization.get("occurrenceDateTime", ""))
    quantity = immunization.get("doseQuantity", {})
    maker = immunization.get("manufacturer", {})
    organization = makers.get(str(maker.get("reference", "")).removeprefix("Organization/"), {})
    is_given = immunization["status"] == "completed"
    refused = _coded(immunization.get("statusReason"))
    status = ("PA" if immunization.get("isSubpotent") else "CP") if is_given else "RE" if refused else "NA"
    fields = {
        1: "0",
        2: "1",
        3: given_at,
        4: given_at,
        5: _coded(immunization.get("vaccineCode")) or "998^no vaccine administered^CVX",
        6: str(quantity["value"]) if "value" in quantity else _UNKNOWN_AMOUNT,
        7: _unit(quantity) if "value" in quantity else "",
        9: _source(immunization),
        15: escape(immunization.get("lotNumber", "")),
        16: immunization.get("expirationDate", "").replace("-", ""),
        17: _maker(organization, maker),
        18: refused,
        20: status,
        21: "A",
    }
    return _segment("RXA", fields)


def _unit(quantity: JsonObject) -> str:
    code = quantity.get("code", "")
    system = _SYSTEMS.get(quantity.get("system", ""), "")
    return _parts(
        code or quantity.get("unit", ""), quantity.get("unit", "") if code else "", system if code else ""
    )


def _source(immunization: JsonObject) -> str:
    """RXA-9: where the record is from (NIP001)."""
    if immunization.get("primarySource") is True:
        return "00^New immunization record^NIP001"
    origin = immunization.get("reportOrigin", {})
    for coding in origin.get("coding", ()):
        if _SYSTEMS.get(coding.get("system", "")) == "NIP001":
            return _parts(coding.get("code", ""), coding.get("display", ""), "NIP001")
    return "01^Historical information - source unspecified^NIP001"


def _maker(organization: JsonObject, reference: JsonObject) -> str:
    name = organization.get("name") or reference.get("display", "")
    for identifier in organization.get("identifier", ()):
        system = _SYSTEMS.get(identifier.get("system", ""))
        if system and identifier.get("value"):
            return _parts(identifier["value"], name, system)
    return _parts("", name) if name else ""


def _observations(immunization: JsonObject) -> Iterator[str]:
    """OBX of the facts that an Immunization has elements for; OBX-4 tells which belong together."""
    facts = [("CE", _ELIGIBILITY, _coded(item), 1) for item in immunization.get("programEligibility", ())]
    facts.append(("CE", _FUNDING, _coded(immunization.get("fundingSource")), 1))
    for group, protocol in enumerate(immunization.get("protocolApplied", ()), 2):
        facts.append(("NM", _DOSE, str(protocol.get("doseNumberPositiveInt", "")), group))
        facts.append(("NM", _SERIES, str(protocol.get("seriesDosesPositiveInt", "")), group))
    number = 0
    for kind, code, value, group in facts:
        if value:
            number += 1
            yield _segment("OBX", {1: str(number), 2: kind, 3: code, 4: str(group), 5: value, 11: "F"})


def _coded(concept: JsonObject | None) -> str:
    """A CE: the first two codings, CVX first; a text alone as its text."""
    codings = [item for item in (concept or {}).get("coding", ()) if item.get("code")]
    codings.sort(key=lambda item: _SYSTEMS.get(item.get("system", "")) != "CVX")
    if not codings:
        return _parts("", (concept or {}).get("text", ""))
    parts: list[str] = []
    for coding in codings[:2]:
        shown = coding.get("display") or ((concept or {}).get("text", "") if not parts else "")
        parts += [coding["code"], shown, _system(coding)]
    return _parts(*parts)


def _system(coding: JsonObject) -> str:
    """A coding system's name of table 0396: a registered one, HL7's own tables, or as it came in."""
    system = coding.get("system", "")
    if system in _SYSTEMS:
        return _SYSTEMS[system]
    if system.startswith(_TABLE):
        return f"HL7{system.removeprefix(_TABLE)}"
    extensions = coding.get("_system", {}).get("extension", ())
    return next((str(item["valueString"]) for item in extensions if item["url"] == _ORIGINAL), str(system))


def _time(text: str) -> str:
    """A dateTime as DTM: the same precision and offset."""
    if "T" not in text:
        return text.replace("-", "")
    day, _, clock = text.partition("T")
    clock = clock.replace("Z", "+00:00")
    sign = "+" if "+" in clock else "-"
    time, _, offset = clock.partition(sign)
    return day.replace("-", "") + time.replace(":", "") + sign + offset.replace(":", "")
