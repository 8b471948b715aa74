"""AuditEvents: who saw what, in the shape of IHE Basic Audit Log Patterns, durable before bytes leave (DESIGN
§6).

R4 auditevent.html; IHE BALP RESTful activities (https://profiles.ihe.net/ITI/BALP/): type ``rest``, subtype
the interaction, agents client, server and user, source, entities patient, data and query. The event is kept
sealed, since a search's text may name a person; its leaf in the ledger commits to its bytes.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Text
from sqlmodel import Field, SQLModel

from hdg.fhir.times import instant
from hdg.management.audit_text import shortened
from hdg.management.identity import Principal
from hdg.management.ledger.leaf import commit, encode

__all__ = [
    "Access",
    "AuditEventRow",
    "Event",
    "SealedEvent",
    "agent_of",
    "audit_event",
    "audit_events",
    "person",
    "refusal_event",
    "seal_event",
]

JsonObject = dict[str, Any]
Seal = Callable[[bytes, str], tuple[str, bytes, bytes]]

_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_TYPE = {
    "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
    "code": "rest",
    "display": "Restful Operation",
}
_INTERACTION = "http://hl7.org/fhir/restful-interaction"
_SUBTYPES = {
    name: [{"system": _INTERACTION, "code": code, "display": code}]
    for name, code in {
        "read": "read",
        "vread": "vread",
        "history": "history-instance",
        "history-type": "history-type",
        "history-system": "history-system",
        "search": "search",
        "create": "create",
        "update": "update",
        "delete": "delete",
        "patch": "patch",
        "transaction": "transaction",
        "operation": "operation",
    }.items()
}
_ACTIONS = {
    "search": "E",
    "create": "C",
    "update": "U",
    "patch": "U",
    "delete": "D",
    "transaction": "E",
    "operation": "E",
}
_SOURCE_ROLE = {"coding": [{"system": _DICOM, "code": "110153", "display": "Source Role ID"}]}
_DESTINATION_ROLE = {"coding": [{"system": _DICOM, "code": "110152", "display": "Destination Role ID"}]}
_RECIPIENT = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
            "code": "IRCP",
            "display": "information recipient",
        }
    ]
}
_APPLICATION_SERVER = [
    {
        "system": "http://terminology.hl7.org/CodeSystem/security-source-type",
        "code": "4",
        "display": "Application Server",
    }
]
_ENTITY_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_OBJECT_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_PERSON = {"system": _ENTITY_TYPE, "code": "1", "display": "Person"}
_SYSTEM_OBJECT = {"system": _ENTITY_TYPE, "code": "2", "display": "System Object"}
_PATIENT_ROLE = {"system": _OBJECT_ROLE, "code": "1", "display": "Patient"}
_DOMAIN_ROLE = {"system": _OBJECT_ROLE, "code": "4", "display": "Domain Resource"}
_QUERY_ROLE = {"system": _OBJECT_ROLE, "code": "24", "display": "Query"}
_RANDOM_BYTES = 9
_ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"


class AuditEventRow(SQLModel, table=True):
    """One sealed AuditEvent. ``patient``: id of the one patient concerned, else ''; ``agent``: the user."""

    __tablename__ = "audit_event"
    __table_args__ = (Index("ix_audit_event_patient", "patient", "at_us"),)
    id: str = Field(sa_column=Column(Text, primary_key=True))
    at_us: int = Field(sa_column=Column(BigInteger().with_variant(Integer(), "sqlite"), nullable=False))
    patient: str = Field(sa_column=Column(Text, nullable=False))
    agent: str = Field(sa_column=Column(Text, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


@dataclass(frozen=True, slots=True)
class Access:
    """What was asked and what came of it.

    ``interaction``: a key of _SUBTYPES; ``resource``: ``Type/id`` (or ``Type/id/_history/n``) when there is
    one, ``resources`` when there are several; ``query``: the search as asked; ``patients``: ids of the
    patients concerned; ``outcome``: 0 success, 4 refused or not found, 8 failed (R4
    valueset-audit-event-outcome); ``client``: network address.
    """

    interaction: str
    outcome: str
    resource: str = ""
    query: str = ""
    patients: Sequence[str] = ()
    client: str = ""
    resources: Sequence[str] = ()


class Event(NamedTuple):
    """An AuditEvent as JSON; ``patient``: the one patient concerned, '' for none; ``kept``: as audit_text.py has it."""

    id: str
    patient: str
    data: bytes
    kept: bytes = b""


def audit_events(
    principal: Principal, access: Access, patients: Sequence[str], *, at_us: int, server: str
) -> list[Event]:
    """``audit_event`` of an access for each of ``patients`` ('' for nobody), or one about nobody for none.

    Byte for byte; but what such events share is made once, and what the accesses of a caller share is remembered.
    """
    frame = _frame(principal, access.interaction, access.outcome, access.client, server)
    recorded = instant(at_us).encode()
    others = [_OBJECT_PIECE.around(one) for one in (access.resource, *access.resources) if one]
    if access.query:
        others.append(_QUERY_PIECE.around(_encoded(access.query)))
    told = others if any(patients) else [_PERSON_PIECE.around(one) for one in access.patients] + others
    comma = b"," if others else b""

    def around(number: int) -> tuple[bytes, tuple[bytes, bytes], tuple[bytes, bytes]]:
        """What stands before the id; what stands around nobody's name, and around a patient's."""
        head, middle, tail = (text[number] for text in frame)
        before, after = middle + recorded + tail, b",".join(one[number] for one in told) + b"]}"
        own = _PERSON_PIECE
        return head, (before, after), (before + own.before[number], own.after[number] + comma + after)

    (head, *ends), (kept_head, *kept_ends) = around(0), around(1)
    found: list[Event] = []
    for patient, id_ in zip(patients or ("",), _new_ids(at_us, len(patients) or 1), strict=True):
        name, quoted = id_.encode(), orjson.dumps(patient)[1:-1]
        (before, after), (kept_before, kept_after) = ends[bool(patient)], kept_ends[bool(patient)]
        data = b"".join((head, name, before, quoted, after))
        kept = b"".join((kept_head, name, kept_before, quoted, kept_after))
        found.append(Event(id_, patient, data, kept))
    return found


class _Text(NamedTuple):
    """A part of an event's JSON, and as it is kept."""

    data: bytes
    kept: bytes


class _Piece(NamedTuple):
    """An entity but for its value."""

    before: _Text
    after: _Text

    def around(self, value: str) -> _Text:
        """With its value."""
        quoted = orjson.dumps(value)[1:-1]
        data = b"".join((self.before.data, quoted, self.after.data))
        return _Text(data, b"".join((self.before.kept, quoted, self.after.kept)))


@lru_cache(1024)
def _frame(
    principal: Principal, interaction: str, outcome: str, client: str, server: str
) -> tuple[_Text, ...]:
    """An event but for its id, its time and its entities."""
    event = audit_event(principal, Access(interaction, outcome, client=client), at_us=0, server=server)
    id_, recorded = (
        secrets.token_hex(16),
        secrets.token_hex(16),
    )  # random, so they are nowhere else in the text
    text = orjson.dumps({**event, "id": id_, "recorded": recorded}).removesuffix(b"]}")
    head, rest = text.split(id_.encode())
    middle, tail = rest.split(recorded.encode())
    return tuple(map(_Text, (head, middle, tail), shortened(head, middle, tail)))


def _new_ids(at_us: int, count: int) -> list[str]:
    """Each 32 hex digits: the time (µs), then 72 random bits. What is written together lies together.

    All are drawn at once: each time the system is asked for random bits, the other threads get their turn.
    """
    drawn = secrets.token_hex(_RANDOM_BYTES * count)
    digits = 2 * _RANDOM_BYTES
    return [f"{at_us:014x}{drawn[at : at + digits]}" for at in range(0, digits * count, digits)]


def audit_event(principal: Principal, access: Access, *, at_us: int, server: str) -> JsonObject:
    """The AuditEvent (R4) of one access. ``server``: the gateway's own base URL or name."""
    is_query = access.interaction == "search"
    client: JsonObject = {
        "type": _SOURCE_ROLE if is_query else _DESTINATION_ROLE,
        "who": {"display": access.client or "unknown"},
        "requestor": False,
    }
    if access.client:
        client["network"] = {"address": access.client, "type": "2"}
    return {
        "resourceType": "AuditEvent",
        "id": _new_ids(at_us, 1)[0],
        "type": _TYPE,
        "subtype": _SUBTYPES[access.interaction],
        "action": _ACTIONS.get(access.interaction, "R"),
        "recorded": instant(at_us),
        "outcome": access.outcome,
        "purposeOfEvent": [{"coding": [{"system": _ACT_REASON, "code": principal.purpose}]}],
        "agent": [
            client,
            {
                "type": _DESTINATION_ROLE if is_query else _SOURCE_ROLE,
                "who": {"display": server},
                "requestor": False,
            },
            _user(principal),
        ],
        "source": {"observer": {"display": server}, "type": _APPLICATION_SERVER},
        "entity": _entities(access),
    }


def refusal_event(count: int, addresses: Mapping[str, int], *, at_us: int, server: str) -> JsonObject:
    """The AuditEvent of ``count`` requests without a valid token.

    ``addresses``: how many came from each ('' others).
    """
    clients: list[JsonObject] = [
        {
            "type": _SOURCE_ROLE,
            "who": {"display": f"{number} from {address or 'others'}"},
            "requestor": True,
            **({"network": {"address": address, "type": "2"}} if address else {}),
        }
        for address, number in sorted(addresses.items())
    ]
    return {
        "resourceType": "AuditEvent",
        "id": _new_ids(at_us, 1)[0],
        "type": {"system": _DICOM, "code": "110114", "display": "User Authentication"},
        "subtype": [{"system": _DICOM, "code": "110122", "display": "Login"}],
        "action": "E",
        "recorded": instant(at_us),
        "outcome": "4",
        "outcomeDesc": f"{count} requests without a valid access token were refused",
        "agent": [
            *clients,
            {"type": _DESTINATION_ROLE, "who": {"display": server}, "requestor": False},
        ],
        "source": {"observer": {"display": server}, "type": _APPLICATION_SERVER},
    }


def _user(principal: Principal) -> JsonObject:
    if principal.role == "patient":
        who: JsonObject = {"reference": f"Patient/{principal.patient}"}
    else:
        who = {"identifier": {"value": principal.user or principal.role}}
    if principal.institution:
        who["display"] = f"{principal.role} at {principal.institution}"
    else:
        who["display"] = principal.role
    return {
        "type": _RECIPIENT,
        "who": who,
        "requestor": True,
        "policy": [
            f"urn:hdg:token:{principal.token_id}",
            *([f"urn:hdg:project:{principal.project}"] if principal.role == "researcher" else ()),
        ],
    }


def _entities(access: Access) -> list[JsonObject]:
    named = (access.resource, *access.resources)
    entities = [*map(person, access.patients), *(_object(resource) for resource in named if resource)]
    if access.query:
        entities.append(_query(_encoded(access.query)))
    return entities


def person(patient: str) -> JsonObject:
    """The entity that names the patient whom an event is about."""
    return {"what": {"reference": f"Patient/{patient}"}, "type": _PERSON, "role": _PATIENT_ROLE}


def _object(resource: str) -> JsonObject:
    return {"what": {"reference": resource}, "type": _SYSTEM_OBJECT, "role": _DOMAIN_ROLE}


def _query(encoded: str) -> JsonObject:
    return {"type": _SYSTEM_OBJECT, "role": _QUERY_ROLE, "query": encoded}


def _encoded(query: str) -> str:
    return base64.b64encode(query.encode()).decode()


def _piece(entity: Callable[[str], JsonObject]) -> _Piece:
    mark = "a value that no entity has by itself"
    before, after = orjson.dumps(entity(mark)).split(mark.encode())
    _, *kept = shortened(b"", before, after)
    return _Piece(_Text(before, kept[0]), _Text(after, kept[1]))


_PERSON_PIECE, _OBJECT_PIECE, _QUERY_PIECE = map(_piece, (person, _object, _query))


@dataclass(frozen=True, slots=True)
class SealedEvent:
    """An event ready to be written: its row of ``audit_event`` and its ledger leaf (kind ``access``)."""

    row: tuple[str, int, str, str, bytes]
    leaf: bytes


def agent_of(principal: Principal) -> str:
    """Who read, as the rows of the trail name them."""
    return principal.user or principal.patient or principal.role


def seal_event(
    event: Event, seal: Seal, *, at_us: int, principal: Principal, institution: str
) -> SealedEvent:
    """Seals an event. ``seal(data, key)`` gives (owner code, salt, sealed bytes) as WriteSession.seal.

    ``institution``: the one that keeps the record.
    """
    key = f"AuditEvent/{event.id}"
    subject, salt, sealed = seal(event.kept or event.data, key)
    leaf = encode("access", subject, key, 0, institution, at_us, commit(salt, event.data))
    return SealedEvent((event.id, at_us, event.patient, agent_of(principal), sealed), leaf)
