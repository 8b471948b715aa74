"""A search tells a researcher nothing but what the answers show: it finds what the same search finds among the
de-identified resources themselves.

One gateway holds the originals, the other what was exported from it. Every allowed parameter is asked of both, with
the values that the originals hold, shown or not.
"""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from canaries import Maker

from hdg.fhir import definitions, json
from hdg.management.store.index import selectors
from hdg.management.store.meta import index_key
from hdg.management.store.values import hasher, split_reference
from hdg.usage.research.export import Wanted, export
from hdg.usage.research.pseudonyms import Pseudonyms
from hdg.usage.research.questions import rule

PROJECT = "asthma-1"
TYPES = ("Patient", "Observation", "Condition", "Encounter", "MedicationRequest", "AllergyIntolerance")
VARIANTS = range(6)
MOST = 4
"""Values of one parameter that are asked for."""


def resources():
    """Of each type some, about two patients, which refer to each other."""
    for variant in VARIANTS:
        patient = f"p{variant % 2}"
        for type_ in TYPES:
            content = Maker(variant).resource(type_)
            content |= {"id": patient if type_ == "Patient" else f"{type_}-{variant}"}
            if type_ == "Patient":
                if variant > 1:
                    continue
                content |= {"link": [], "gender": ("female", "male")[variant]}
            elif type_ == "AllergyIntolerance":
                content["patient"] = {"reference": f"Patient/{patient}"}
            else:
                content["subject"] = {"reference": f"Patient/{patient}"}
            if type_ in ("Observation", "Condition"):
                content["encounter"] = {"reference": f"Encounter/Encounter-{variant}"}
            yield content, patient


def values_of(content, parameter, names):
    """The values of a parameter in a resource, as a researcher could write them."""
    for select, _ in selectors(content["resourceType"], parameter.code):
        for item in select(content):
            if parameter.kind == "reference":
                target = split_reference(item.get("reference", "")) if isinstance(item, dict) else None
                if target:
                    yield f"{target[0]}/{names.of(*target)}"
                    yield names.of(*target)
            elif parameter.kind == "quantity" and "value" in item:
                yield f"{item['value']}|{item.get('system', '')}|{item.get('code', '')}"
                yield f"gt1|{item.get('system', '')}|{item.get('code', '')}"
            elif isinstance(item, dict):
                for coding in item.get("coding", [item]):
                    if "code" in coding:
                        yield f"{coding.get('system', '')}|{coding['code']}"
                        yield coding["code"]
            elif isinstance(item, bool):
                yield "true" if item else "false"
            elif isinstance(item, str):
                yield item


def test_a_search_finds_what_it_finds_among_what_is_shown(two, tmp_path):
    real, shown = two
    originals = list(resources())
    for content, patient in originals:
        real.put(content, "north", patient)
    for patient in ("p0", "p1"):
        real.grant(patient, f"ResearchStudy/{PROJECT}", purposes=("HRESCH",))
    export(real.settings, Wanted(PROJECT), tmp_path / "out", real.clock)
    for line in (tmp_path / "out").read_bytes().splitlines():
        shown.put(json.loads(line), "north", None)
    names = Pseudonyms(real.keys.project_key(PROJECT), hasher(index_key(real.keys.root)))
    researcher, reader = (
        real.token("researcher", project=PROJECT),
        shown.token("clinician", institution="north"),
    )

    def found(world, token, type_, name, value):
        answer = world.client.get(f"/fhir/{type_}?{urlencode({name: value, '_count': 100})}", token)
        if answer.status_code == 403:
            return None
        assert answer.status_code == 200, answer.text
        return {entry["resource"]["id"] for entry in answer.json().get("entry", ())}

    stored = {names.of(content["resourceType"], content["id"]) for content, _ in originals}
    compared = hits = 0
    for type_ in TYPES:
        for parameter in definitions.search_parameters(type_):
            if not rule(type_, parameter.code) or "data-absent-reason" in parameter.code:
                continue  # what is hidden has a reason for its absence only where it is shown
            asked = dict.fromkeys(
                value
                for content, _ in originals
                if content["resourceType"] == type_
                for value in values_of(content, parameter, names)
            )
            for value in list(asked)[:MOST]:
                negated = (
                    [f"{parameter.code}:not"] if parameter.kind == "token" and parameter.code != "_id" else []
                )
                for name in (parameter.code, *negated):
                    mine = found(real, researcher, type_, name, value)
                    if mine is None:
                        continue
                    theirs = found(shown, reader, type_, name, value)
                    is_stored = parameter.kind != "reference" or value.rpartition("/")[2] in stored
                    # A pseudonym of what is not stored is shown in references and finds nothing.
                    assert mine == theirs if is_stored else not mine, (type_, name, value)
                    compared, hits = compared + 1, hits + bool(mine)
    assert compared > 120
    assert hits > 50
    for asked in (
        "Observation?subject:Patient.gender=female",
        "Condition?encounter.status=planned",
        "Patient?_has:Observation:subject:status=registered",
    ):
        type_, _, query = asked.partition("?")
        name, _, value = query.partition("=")
        assert found(real, researcher, type_, name, value) == found(shown, reader, type_, name, value), asked


@pytest.fixture
def two(world, tmp_path):
    """Two gateways; the second starts without patients of its own."""
    other = type(world)(tmp_path / "other")
    for type_, id_ in (
        ("Patient", "ann"),
        ("Patient", "bob"),
        *(("Observation", f"{p}-{n}") for p in ("ann", "bob") for n in range(3)),
    ):
        other.delete(type_, id_, "north" if "ann" in id_ else "south")
    yield world, other
    other.close()
