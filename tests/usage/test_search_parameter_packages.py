"""Search parameters of loaded packages: in use while the package is there; the server's thread sees to it."""

from __future__ import annotations

import time

import pytest

from hdg.fhir.profiles.loading import load_package
from hdg.fhir.profiles.shelf import FOLDER, Shelf
from hdg.management.store.custom_packages import Packages
from hdg.management.store.meta import index_key
from hdg.management.store.values import hasher
from hdg.search_index import SearchIndex
from profile_packages import package

RACE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
URL = "http://hl7.org/fhir/us/core/SearchParameter/us-core-"


def parameter(code, expression, type_="token", **more):
    return {
        "resourceType": "SearchParameter",
        "url": URL + code,
        "name": "X",
        "status": "active",
        "description": "x",
        "code": code,
        "base": ["Patient"],
        "type": type_,
        "expression": expression,
        **more,
    }


RACES = parameter("race", f"Patient.extension.where(url = '{RACE}').extension.value.code")
GENDER = parameter(
    "gender", "Patient.gender", derivedFrom="http://hl7.org/fhir/SearchParameter/individual-gender"
)
BROKEN = parameter("broken", "Patient.colour")
DRAFT = parameter("draft", "Patient.active") | {"status": "draft"}


def load(world, tmp_path, *resources, name="example.core", version="1.0.0"):
    path = tmp_path / f"{name}-{version}.tgz"
    path.write_bytes(package(resources, name=name, version=version))
    load_package(path, Shelf(world.settings.data / FOLDER))


@pytest.fixture
def clinician(either):
    return either.token("clinician", institution="north", purpose="TREAT")


def raced(world, id_, code):
    patient = world.patient(id_, "Eve", "Muster")
    coding = {"system": "urn:oid:2.16.840.1.113883.6.238", "code": code}
    inner = {"url": "ombCategory", "valueCoding": coding}
    return patient | {"extension": [{"url": RACE, "extension": [inner]}]}


def search(world, token, query):
    answer = world.client.get(f"/fhir/{query}", token)
    return answer.status_code, [entry["resource"]["id"] for entry in answer.json().get("entry", ())]


def test_a_package_is_searchable_while_it_is_there(either, clinician, tmp_path) -> None:
    either.put(raced(either, "p1", "2106-3"), "north", "p1")
    load(either, tmp_path, RACES, GENDER, BROKEN, DRAFT)
    index = SearchIndex(either.settings, either.store, hasher(index_key(either.keys.root)), poll_s=0.01)
    index.start()
    try:
        wait(lambda: search(either, clinician, "Patient?race=2106-3") == (200, ["p1"]))
        either.put(raced(either, "p2", "2106-3"), "north", "p2")
        assert search(either, clinician, "Patient?race=2106-3") == (200, ["p2", "p1"])
        assert search(either, clinician, "Patient?gender=male") == (200, [])
        for code in ("broken", "draft"):
            assert search(either, clinician, f"Patient?{code}=x")[0] == 400
        Shelf(either.settings.data / FOLDER).remove("example.core#1.0.0")
        wait(lambda: search(either, clinician, "Patient?race=2106-3")[0] == 400)
    finally:
        index.stop()


def wait(is_so):
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.01)
    pytest.fail("it does not come about")


def codes(world):
    return {
        (one.definition.code, one.definition.expression) for one in world.gate.catalog.current().parameters
    }


def test_what_was_written_through_the_api_comes_first(either, tmp_path) -> None:
    operator = either.token("operator", user="root", purpose="HSYSADMIN")
    packages = Packages(Shelf(either.settings.data / FOLDER), either.store)
    load(either, tmp_path, RACES, parameter("taken", "Patient.active"))
    packages.sync()
    assert len(codes(either)) == 2
    own = RACES | {"id": "own", "expression": "Patient.language"}
    assert either.client.send("PUT", "/fhir/SearchParameter/own", operator, own).status_code == 201
    clash = parameter("other", "Patient.active") | {"id": "other", "code": "taken"}
    assert either.client.send("PUT", "/fhir/SearchParameter/other", operator, clash).status_code == 422
    packages.sync()
    assert codes(either) == {("race", "Patient.language"), ("taken", "Patient.active")}
    assert either.client.send("DELETE", "/fhir/SearchParameter/own", operator).status_code == 204
    packages.sync()
    assert codes(either) == {("race", RACES["expression"]), ("taken", "Patient.active")}


def test_of_two_versions_the_newest_counts_and_a_damaged_package_changes_nothing(either, tmp_path) -> None:
    packages = Packages(Shelf(either.settings.data / FOLDER), either.store)
    load(either, tmp_path, RACES | {"version": "1.0.0"})
    load(either, tmp_path, RACES | {"version": "1.1.0", "expression": "Patient.language"}, version="1.1.0")
    packages.sync()
    packages.sync()
    assert codes(either) == {("race", "Patient.language")}
    (either.settings.data / FOLDER / "example.core#1.1.0" / "index.json").write_text("{")
    with pytest.raises(Exception, match="damaged"):
        packages.sync()
    assert codes(either) == {("race", "Patient.language")}
