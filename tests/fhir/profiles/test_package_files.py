"""Packages: read whole or refused with the place that is wrong; kept, listed, removed."""

from __future__ import annotations

import gzip

import pytest

from hdg.errors import Conflict, NotFound
from hdg.fhir import json
from hdg.fhir.profiles.current import Current
from hdg.fhir.profiles.library import Library
from hdg.fhir.profiles.loading import load_package
from hdg.fhir.profiles.package import Limits, PackageError, read_package
from hdg.fhir.profiles.shelf import FOLDER, Shelf
from profile_packages import BASE, package, structure, value_set

NAMED = structure("named", "Patient", [("Patient.name", {"min": 1})])
ANN = {"resourceType": "Patient", "active": True}


@pytest.fixture
def written(tmp_path):
    def write(data):
        path = tmp_path / "package.tgz"
        path.write_bytes(data)
        return path

    return write


def test_a_package_is_loaded_listed_used_and_removed(tmp_path, written):
    current = Current(tmp_path)
    assert not current.profiles().is_loaded(BASE + "named")
    shelf = Shelf(tmp_path / FOLDER)
    loaded = load_package(written(package([NAMED, value_set("codes", {"system": "urn:x"})])), shelf)
    assert (loaded.package.label, loaded.missing, loaded.generated) == ("example.lab#1.0.0", (), 1)
    assert [(one.label, one.counts) for one in shelf.packages()] == [
        ("example.lab#1.0.0", {"StructureDefinition": 1, "ValueSet": 1})
    ]
    assert [issue.place for issue in current.check(ANN, [BASE + "named"])] == ["Patient.name"]
    shelf.remove("example.lab#1.0.0")
    assert shelf.packages() == []
    assert [issue.code for issue in current.check(ANN, [BASE + "named"])] == ["not-found"]
    with pytest.raises(NotFound):
        shelf.remove("example.lab#1.0.0")
    with pytest.raises(NotFound):
        shelf.remove("../example.lab#1.0.0")


def test_the_same_version_is_not_loaded_twice(tmp_path, written):
    shelf = Shelf(tmp_path / FOLDER)
    load_package(written(package([NAMED])), shelf)
    with pytest.raises(Conflict, match=r"example\.lab#1\.0\.0 is loaded already"):
        load_package(written(package([NAMED])), shelf)
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["example.lab#1.0.0"]


def test_what_is_no_definition_is_left_out(tmp_path, written):
    files = [
        ("package/Patient-1.json", b'{"resourceType":"Patient"}'),
        ("package/.index.json", b"{"),
        ("package/list.json", b"[1]"),
        ("package/example/broken.json", b"{"),
        ("package/readme.md", b"text"),
    ]
    found = read_package(written(package([NAMED], files=files)))
    assert [entry.url for entry in found.entries] == [BASE + "named"]


def test_dependencies_that_are_not_loaded_are_named(tmp_path, written):
    manifest = {"name": "a", "version": "1", "dependencies": {"hl7.fhir.r4.core": "4.0.1", "other": "2"}}
    loaded = load_package(written(package([NAMED], manifest=manifest)), Shelf(tmp_path))
    assert loaded.missing == ("hl7.fhir.r4.core#4.0.1", "other#2")


def about(**more):
    return {"name": "a", "version": "1", "fhirVersions": ["4.0.1"], **more}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a readable .tgz"),
        (b"no archive", "not a readable .tgz"),
        (gzip.compress(b"no archive", mtime=0), "not a readable .tgz|no package/package.json"),
        (package([NAMED])[:-200], "not a readable .tgz"),
        (package([NAMED], manifest=b"{"), r"package\.json: malformed JSON"),
        (package([NAMED], manifest=b"[]"), r"package\.json: not a JSON object"),
        (package([NAMED], manifest=about(name="../a")), r"package\.json: 'name'"),
        (package([NAMED], manifest=about(name="a#b")), r"package\.json: 'name'"),
        (package([NAMED], manifest=about(version="../1")), r"package\.json: 'version'"),
        (package([NAMED], manifest=about(dependencies=["x"])), "'dependencies'"),
        (package([NAMED], manifest=about(fhirVersions=["5.0.0"])), "does not name R4"),
        (package([NAMED], manifest={"name": "a", "version": "1"}), "does not say which FHIR"),
        (package([], manifest=about()), "no StructureDefinition"),
        (
            package([{**NAMED, "fhirVersion": "3.0.2"}]),
            r"StructureDefinition-0\.json: it is for FHIR 3\.0\.2",
        ),
        (package([NAMED], files=[("package/x.json", b'{"resourceType":')]), r"x\.json: not readable JSON"),
        (
            package([NAMED], files=[("package/../../x.json", b"{}")]),
            r"\.\./x\.json: an entry's path leads out",
        ),
        (package([NAMED], files=[("/etc/x.json", b"{}")]), "leads out of the package"),
        (package([NAMED], files=[("package\\..\\x", b"{}")]), "leads out of the package"),
        (
            package([NAMED], links=[("package/y.json", "/etc/passwd")]),
            r"y\.json: .*neither a file nor a folder",
        ),
        (package([{**NAMED, "name": 1}]), r"StructureDefinition-0\.json: not a StructureDefinition of R4"),
        (package([{k: v for k, v in NAMED.items() if k != "url"}]), "without url"),
    ],
)
def test_a_broken_package_is_refused_by_name_and_nothing_is_kept(tmp_path, written, data, words):
    with pytest.raises(PackageError, match=words):
        load_package(written(data), Shelf(tmp_path / FOLDER))
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(file_bytes=100), "larger than is allowed"),
        (Limits(total_bytes=5_000), "unpacks to more"),
        (Limits(files=1), "more files"),
    ],
)
def test_a_package_beyond_the_limits_is_refused(written, limits, words):
    with pytest.raises(PackageError, match=words):
        read_package(written(package([NAMED], files=[("package/filler", b"0" * 20_000)])), limits)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (
            structure("p", "Patient", [("Patient.nmae", {"min": 1})]),
            r"p Patient\.nmae: R4 has no such element",
        ),
        (structure("p", "Nothing", [("Nothing.a", {})]), r"p: its type is none of R4"),
        (structure("p", "Patient", [("Observation.code", {})]), "starts with another type"),
        (
            structure("p", "Patient", [("Patient", {})], base=BASE + "gone"),
            r"/p: .*no snapshot.*/gone is not loaded",
        ),
        (structure("p", "Patient", [("Patient", {})], base=BASE + "p"), "base leads back to itself"),
        (structure("p", "Patient", [("Patient.name", {"max": "many"})]), "cardinality"),
    ],
)
def test_a_profile_that_cannot_be_used_is_named_with_its_element(tmp_path, written, profile, words):
    with pytest.raises(PackageError, match=words):
        load_package(written(package([profile])), Shelf(tmp_path))


def test_of_several_versions_the_newest_is_meant_unless_one_is_named():
    versions = ["1.2.0", "1.10.0", "2.0.0-ballot", "1.9.0"]
    library = Library().with_resources({**NAMED, "version": version} for version in versions)
    find = lambda canonical: (library.find("StructureDefinition", canonical) or {}).get("version")  # noqa: E731
    assert find(BASE + "named") == "2.0.0-ballot"
    assert find(BASE + "named|1.9.0") == "1.9.0"
    assert find(BASE + "named|3") is None
    final = library.with_resources([{**NAMED, "version": "2.0.0"}])
    assert json.loads(json.dumps(final.find("StructureDefinition", BASE + "named")))["version"] == "2.0.0"
