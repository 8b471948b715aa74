"""Observation/$stats: statistics of one patient's results. R4 observation-operation-stats.html.

Counted are the Observations that the caller may see, and their components. What was entered in error is left out; what
has no value that one can compute with (no quantity, a comparator, a modifier extension) counts in ``total-count`` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hdg.errors import BadRequest, Issue, NotFound, ValidationFailed
from hdg.fhir import json
from hdg.fhir.statistics import CODES, TooWide, computed
from hdg.fhir.validate import validate
from hdg.usage.access import Caller
from hdg.usage.fhir_api import parameters
from hdg.usage.fhir_api.bodies import json_given
from hdg.usage.fhir_api.context import Api, query_of
from hdg.usage.fhir_api.query import FORBIDDEN, Pairs, describe
from hdg.usage.fhir_api.responses import fhir_response

__all__ = ["routes"]

JsonObject = dict[str, Any]

_SYSTEM = "http://terminology.hl7.org/CodeSystem/observation-statistics"
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_UCUM = "http://unitsofmeasure.org"
_PAGE, _PAGES, _CODES_MAX = 500, 20, 20
_NAMES = ("subject", "code", "system", "coding", "statistic", "start", "end", "include")
Coding = tuple[str, str]
"""System and code."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """``period``: its start and end as they were given, '' for open."""

    subject: str
    codings: tuple[Coding, ...]
    statistics: tuple[str, ...]
    period: tuple[str, str]


@dataclass(slots=True)
class _Found:
    """What is there of one coding. ``unit``: of the values, which share it."""

    values: list[Decimal] = field(default_factory=list)
    unit: JsonObject = field(default_factory=dict)
    total: int = 0


def routes(api: Api) -> list[Route]:
    """The route of $stats, by GET and by POST."""

    async def stats(request: Request) -> Response:
        caller, resource_type = api.enter(request)
        if resource_type != "Observation":
            raise NotFound("no such operation")
        asked = _asked(query_of(request) + await _posted(request))
        found = await _gathered(api, caller, asked)
        results = [
            {"name": "statistics", "resource": _result(asked, coding, found[coding])}
            for coding in asked.codings
        ]
        answer = {"resourceType": "Parameters", "parameter": results}
        if validate(answer):
            raise BadRequest("a subject, code or time of another form than R4 has", code="value")
        return fhir_response(json.dumps(answer), method=request.method)

    return [Route("/fhir/{type}/$stats", stats, methods=["GET", "POST"])]


async def _gathered(api: Api, caller: Caller, asked: _Asked) -> dict[Coding, _Found]:
    """What the caller may see, by coding. Raises BadRequest, ValidationFailed (several units)."""
    codes = ",".join("|".join(map(_escaped, coding)) for coding in asked.codings)
    given = [("subject", asked.subject), ("combo-code", codes), ("status:not", "entered-in-error")]
    start, end = asked.period
    given += [("date", f"ge{start}")] if start else []
    given += [("date", f"le{end}")] if end else []
    found = {coding: _Found() for coding in asked.codings}
    cursor = ""
    for _ in range(_PAGES):
        query = parameters.parse("Observation", given, api.limits, cursor, count=_PAGE)
        page = await api.gate.search(
            caller, query, f"Observation/$stats?subject={asked.subject}&code={codes}"
        )
        for match in page.matches:
            observation = json.loads(match.body)
            for part in (observation, *observation.get("component", ())):
                for coding in _codings(part):
                    if coding in found:
                        _count(found[coding], part, is_modified="modifierExtension" in observation)
        cursor = page.next_cursor
        if not cursor:
            return found
    raise BadRequest("$stats would have to look at too many results; ask for less", code="too-costly")


def _codings(part: JsonObject) -> Iterator[Coding]:
    """The codings of an Observation or a component, each once."""
    codings = part.get("code", {}).get("coding", ())
    return iter({(one.get("system", ""), one["code"]): None for one in codings if "code" in one})


def _count(found: _Found, part: JsonObject, *, is_modified: bool) -> None:
    found.total += 1
    quantity = part.get("valueQuantity", {})
    value = quantity.get("value")
    is_usable = value is not None and "comparator" not in quantity and "modifierExtension" not in part
    if not is_usable or is_modified or quantity.get("system") != _UCUM or "code" not in quantity:
        return
    if not found.values:
        found.unit = {name: quantity[name] for name in ("unit", "system", "code") if name in quantity}
    elif found.unit["code"] != quantity["code"]:
        text = "the results of a code have several units; there are no statistics over them"
        raise ValidationFailed([Issue("error", "business-rule", "", text)])
    found.values.append(value if isinstance(value, Decimal) else Decimal(value))


def _result(asked: _Asked, coding: Coding, found: _Found) -> JsonObject:
    """The Observation that tells the statistics of one coding."""
    start, end = asked.period
    period = {name: value for name, value in (("start", start), ("end", end)) if value}
    system, code = coding
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": system, "code": code}]},
        "subject": {"reference": asked.subject},
        **({"effectivePeriod": period} if period else {}),
        "component": [_component(name, found) for name in asked.statistics],
    }


def _component(name: str, found: _Found) -> JsonObject:
    made: JsonObject = {"code": {"coding": [{"system": _SYSTEM, "code": name}]}}
    if name in ("count", "total-count"):
        return {**made, "valueInteger": found.total if name == "total-count" else len(found.values)}
    try:
        value = computed(name, found.values) if found.values else None
    except TooWide:
        text = "the values differ too much in size to be computed with exactly"
        raise ValidationFailed([Issue("error", "business-rule", "", text)]) from None
    if value is None:
        return {**made, "dataAbsentReason": {"coding": [{"system": _ABSENT, "code": "not-applicable"}]}}
    return {**made, "valueQuantity": {"value": value, **found.unit}}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(",", "\\,").replace("|", "\\|").replace("$", "\\$")


def _asked(given: Pairs) -> _Asked:
    """What is asked. Raises BadRequest."""
    by_name: dict[str, list[str]] = {name: [] for name in _NAMES}
    for name, value in given:
        if name not in by_name:
            raise BadRequest(f"{describe(name)} is not supported here", code="not-supported")
        if not value or FORBIDDEN.search(value):
            raise BadRequest(f"{describe(name)}: no value that can be used", code="value")
        by_name[name].append(value)
    for name in ("subject", "system", "start", "end", "include"):
        if len(by_name[name]) > 1:
            raise BadRequest(f"{describe(name)} is given twice", code="value")
    if by_name["include"] not in ([], ["false"]):
        raise BadRequest(
            "parameter 'include': the results themselves are to be had by a search", code="not-supported"
        )
    system = "".join(by_name["system"])
    codings = [(system, code) for code in by_name["code"]]
    codings += [(part[0], part[2]) for part in (text.partition("|") for text in by_name["coding"])]
    if not by_name["subject"] or not by_name["statistic"] or not codings:
        raise BadRequest("$stats needs a subject, a statistic and a code with its system", code="required")
    if not all(system and code for system, code in codings):
        raise BadRequest("$stats needs the system of every code", code="required")
    statistics = tuple(dict.fromkeys(name for text in by_name["statistic"] for name in text.split(",")))
    if not set(statistics) <= set(CODES):
        raise BadRequest(f"parameter 'statistic': {', '.join(CODES)}", code="not-supported")
    if len(codings) > _CODES_MAX:
        raise BadRequest(f"more than {_CODES_MAX} codes", code="too-costly")
    period = "".join(by_name["start"]), "".join(by_name["end"])
    return _Asked(by_name["subject"][0], tuple(dict.fromkeys(codings)), statistics, period)


async def _posted(request: Request) -> Pairs:
    """The parameters of a Parameters resource, a Coding and a Period as the texts that a URL has."""
    body = await json_given(request, 65_536) if request.method == "POST" else None
    if body is None:
        return []
    parts = body.get("parameter", []) if isinstance(body, dict) else None
    if not isinstance(parts, list) or body.get("resourceType") != "Parameters":
        raise BadRequest("an operation takes a Parameters resource", code="structure")
    return [pair for part in parts for pair in _pairs(part)]


def _pairs(part: Any) -> Sequence[tuple[str, str]]:
    values = [(key, value) for key, value in part.items() if key != "name"] if isinstance(part, dict) else []
    if len(values) == 1 and isinstance(part.get("name"), str):
        ((key, value),) = values
        match part["name"], key, value:
            case name, "valueUri" | "valueString" | "valueCode", str():
                return [(name, value)]
            case "include", "valueBoolean", bool():
                return [("include", "true" if value else "false")]
            case "coding", "valueCoding", {"system": str() as system, "code": str() as code}:
                return [("coding", f"{system}|{code}")]
            case "period", "valuePeriod", dict():
                ends = [(name, value[name]) for name in ("start", "end") if name in value]
                if all(isinstance(end, str) for _, end in ends):
                    return ends
    raise BadRequest(
        "a parameter that $stats does not have, or with a value of another type", code="not-supported"
    )
