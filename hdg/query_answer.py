"""Answers immunization history queries (QBP^Q11 → RSP^K11) under the same gate as every other read.

CDC HL7 v2.5.1 Implementation Guide for Immunization Messaging, release 1.5, chapter 6; docs/hl7v2.md. The
sender's institution asks as one of its clinicians would, for treatment (TREAT): policy and Consents decide
inside the query, what is hidden is answered exactly like what is absent (NF), and each search is in the audit
trail before the answer leaves. Nothing of a query is kept as data.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from hdg.errors import HdgError, Hl7v2Error, NotFound
from hdg.fhir.json import loads
from hdg.fhir.urns import with_one_case
from hdg.gateway import Gateway
from hdg.ingestion.hl7v2 import query
from hdg.ingestion.hl7v2.header import peek
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.hl7v2.query import Asked, Number
from hdg.ingestion.hl7v2.query_response import Answer, Record, respond
from hdg.ingestion.inbox import check_type
from hdg.ingestion.sender import Origin, Sender
from hdg.management.identity import Principal
from hdg.management.store import Clause, SearchQuery
from hdg.usage.access import Caller, Gate

__all__ = ["Queries"]

JsonObject = dict[str, Any]

ROLE, PURPOSE = "clinician", "TREAT"
CANDIDATES_MAX = 50
"""Patients that are looked at; more are too many whatever RCP-2 says."""
IMMUNIZATIONS_MAX = 2_000
_PAGE = 200
_KIND = "QBP^Q11"
_log = logging.getLogger("hdg.query")


class Queries:
    """Answers queries over one gate. Coroutines run on the server's event loop."""

    def __init__(self, gateway: Gateway, gate: Gate, clock: Callable[[], int]) -> None:
        self._gateway = gateway
        self._gate = gate
        self._clock = clock

    async def answer(self, raw: bytes, origin: Origin) -> bytes:
        """The RSP^K11 to a message of which ``query.is_query`` holds. Never raises."""
        asked: Asked | None = None
        try:
            header = peek(raw)
            sender = self._gateway.sender(header, origin)
            self._check(sender, origin, header.application, header.facility)
            message = parse(raw, charset=sender.charset)
            asked = query.echo(message)
            asked = query.read(message, sender.authorities)
            found = await self._found(asked, _caller(sender))
        except Hl7v2Error as error:
            found = Answer("AR" if error.is_rejection else "AE", errors=(error,))
        except Exception as error:  # also: the audit trail cannot be written, so nothing is answered
            _log.error("a query was not answered: %s", type(error).__name__)
            text = str(error) if isinstance(error, HdgError) else "internal error; ask again"
            found = Answer("AE", errors=(Hl7v2Error(text, condition="207"),))
        at_us = self._clock()
        control_id = "Q" + hashlib.sha256(raw + str(at_us).encode()).hexdigest()[:19].upper()
        return respond(raw, asked, found, control_id=control_id, at_us=at_us)

    def _check(self, sender: Sender, origin: Origin, application: str, facility: str) -> None:
        """Raises Hl7v2Error (AR) unless it is known for which institution the sender asks."""
        _, declared = self._gateway.senders.current().find(application, facility, origin)
        if origin.institution:  # a credential says who asks
            if sender.institution != origin.institution:
                raise _refused("the credential is bound to another institution than the message's sender")
        elif declared is None or not (declared.institution or declared.facility):
            raise _refused("the sender is not declared: nobody knows for whom it asks")
        if origin.institution == "" and (declared is None or not declared.queries):
            raise _refused("the sender is not declared to ask queries (queries = true in senders.toml)")
        check_type(_KIND, sender)

    async def _found(self, asked: Asked, caller: Caller) -> Answer:
        patients = await self._patients(asked, caller)
        if patients is None:
            return Answer("TM")
        if not patients:
            return Answer("NF")
        people = _people(patients, asked)
        if len(people) > asked.limit:
            return Answer("TM")
        if len(people) > 1:
            return Answer("LIST", [Record(records[0]) for records in people])
        [records] = people
        records += await self._linked(records, caller)
        records.sort(key=_is_replaced)
        immunizations: list[JsonObject] = []
        for patient in records:
            about = Clause("patient", "reference", "", (f"Patient/{patient['id']}",))
            immunizations += await self._all("Immunization", about, caller)
        told = [each for each in immunizations if each.get("status") != "entered-in-error"]
        told.sort(key=lambda each: (str(each.get("occurrenceDateTime", "")), each["id"]))
        makers = await self._makers(told, caller)
        return Answer("OK", [Record(records[0], told, makers)])

    async def _patients(self, asked: Asked, caller: Caller) -> list[JsonObject] | None:
        """The visible records that fit: by number, else by name and date of birth. None: too many to look at.

        The name of an authority without a system may be that of several: then the name and the date must fit too.
        """
        found: list[JsonObject] = []
        for number in asked.numbers:
            if number.system or (number.authority and asked.is_named):
                clause = Clause("identifier", "token", "", (_token(number),))
                page = await self._some("Patient", (clause,), caller)
                if page is None:
                    return None
                found += [each for each in page if _has_number(each, number) and _agrees(each, asked)]
        if not found and asked.is_named:
            clauses = (
                Clause("family", "string", "", (_escaped(asked.family),)),
                Clause("birthdate", "date", "", (asked.birth_date,)),
            )
            page = await self._some("Patient", clauses, caller)
            if page is None:
                return None
            found = [each for each in page if _is_named(each, asked) and _agrees(each, asked)]
        return list({each["id"]: each for each in found}.values())

    async def _some(self, type_: str, clauses: tuple[Clause, ...], caller: Caller) -> list[JsonObject] | None:
        """The matches; None for more than CANDIDATES_MAX: the right one may not be among the first. One query and one
        audit entry, whether there is anything or not.
        """
        asked = "&".join(f"{each.param}={','.join(each.values)}" for each in clauses)
        search = SearchQuery(type_, clauses, CANDIDATES_MAX, with_total=False)
        results = await self._gate.search(caller, search, f"{type_}?{asked}")
        return None if results.next_cursor else [loads(match.body) for match in results.matches]

    async def _all(self, type_: str, clause: Clause, caller: Caller) -> list[JsonObject]:
        """All matches. Raises Hl7v2Error when there are more than one answer should hold."""
        found: list[JsonObject] = []
        cursor = ""
        while True:
            search = SearchQuery(type_, (clause,), _PAGE, cursor, with_total=False)
            results = await self._gate.search(caller, search, f"{type_}?{clause.param}={clause.values[0]}")
            found += [loads(match.body) for match in results.matches]
            cursor = results.next_cursor
            if not cursor:
                return found
            if len(found) >= IMMUNIZATIONS_MAX:
                raise Hl7v2Error("the history is too long for one answer: ask over FHIR", condition="207")

    async def _linked(self, records: Sequence[JsonObject], caller: Caller) -> list[JsonObject]:
        """Records of the same person that merges joined, as far as they may be seen."""
        seen = {each["id"] for each in records}
        waiting, found = list(records), []
        while waiting and len(seen) < CANDIDATES_MAX:
            for link in waiting.pop().get("link", ()):
                other = str(link["other"].get("reference", "")).removeprefix("Patient/")
                if link["type"] in ("replaces", "replaced-by") and other not in seen:
                    seen.add(other)
                    visible = await self._read("Patient", other, caller)
                    if visible is not None:
                        found.append(visible)
                        waiting.append(visible)
        return found

    async def _makers(self, told: Sequence[JsonObject], caller: Caller) -> dict[str, JsonObject]:
        """The manufacturers by id, for their codes."""
        named = dict.fromkeys(
            str(each["manufacturer"].get("reference", "")).removeprefix("Organization/")
            for each in told
            if "manufacturer" in each
        )
        found = {id_: await self._read("Organization", id_, caller) for id_ in named if id_}
        return {id_: each for id_, each in found.items() if each is not None}

    async def _read(self, type_: str, id_: str, caller: Caller) -> JsonObject | None:
        try:
            return loads((await self._gate.read(caller, type_, id_)).body)  # type: ignore[no-any-return]  # JSON
        except NotFound:
            return None


def _refused(text: str) -> Hl7v2Error:
    return Hl7v2Error(text, "MSH-4", condition="207", is_rejection=True)


def _caller(sender: Sender) -> Caller:
    """The institution, as a clinician of it; the audit names the sender where it names a token."""
    token = f"hl7v2-sender:{quote(sender.name, safe='')}"
    return Caller(Principal(ROLE, "", sender.institution, "", PURPOSE, "", token, 0))


def _people(patients: Sequence[JsonObject], asked: Asked) -> list[list[JsonObject]]:
    """Records by person: those that have the number asked for in common are one person's, as are merged ones."""
    groups: list[list[JsonObject]] = []
    for patient in patients:
        own = [group for group in groups if any(_is_same_person(patient, other, asked) for other in group)]
        groups = [group for group in groups if group not in own]
        groups.append([*(record for group in own for record in group), patient])
    for group in groups:
        group.sort(key=_is_replaced)
    return groups


def _is_replaced(patient: JsonObject) -> bool:
    """Whether another record has taken its place."""
    return patient.get("active") is False


def _is_same_person(one: JsonObject, other: JsonObject, asked: Asked) -> bool:
    if any(
        _has_number(one, number) and _has_number(other, number) for number in asked.numbers if number.system
    ):
        return True
    return _is_linked(one, other) or _is_linked(other, one)


def _is_linked(one: JsonObject, other: JsonObject) -> bool:
    linked = {
        link["other"].get("reference") for link in one.get("link", ()) if link["type"].startswith("replace")
    }
    return f"Patient/{other['id']}" in linked


def _has_number(patient: JsonObject, number: Number) -> bool:
    for each in patient.get("identifier", ()):
        if each.get("value") == number.value:
            if number.system and with_one_case(each.get("system", "")) == number.system:
                return True
            if not number.system and each.get("assigner", {}).get("display") == number.authority:
                return True
    return False


def _is_named(patient: JsonObject, asked: Asked) -> bool:
    for name in patient.get("name", ()):
        given = [text.casefold() for text in name.get("given", ())]
        if str(name.get("family", "")).casefold() == asked.family.casefold() and (
            not asked.given or asked.given.casefold() in given
        ):
            return True
    return False


def _agrees(patient: JsonObject, asked: Asked) -> bool:
    """Whether nothing that is known on both sides differs: a wrong number must not open another's record."""
    born, gender = patient.get("birthDate", ""), patient.get("gender", "")
    if not (
        born.startswith(asked.birth_date) or asked.birth_date.startswith(born)
    ):  # to the precision that both have
        return False
    if asked.gender and gender not in ("", "unknown", "other", asked.gender):
        return False
    return (
        not asked.family
        or not patient.get("name")
        or any(str(name.get("family", "")).casefold() == asked.family.casefold() for name in patient["name"])
    )


def _token(number: Number) -> str:
    value = _escaped(number.value)
    return f"{_escaped(number.system)}|{value}" if number.system else value


def _escaped(text: str) -> str:
    for char in "\\,|$":
        text = text.replace(char, f"\\{char}")
    return text
