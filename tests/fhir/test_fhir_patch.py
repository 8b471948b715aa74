"""JSON Patch and FHIRPath Patch (R4 http.html#patch, fhirpatch.html; RFC 6902), on their own and by HL7's suites."""

from __future__ import annotations

import copy
import json as plain_json
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdg.errors import BadRequest
from hdg.fhir import definitions, json
from hdg.fhir.patch_fhirpath import apply_fhirpath_patch
from hdg.fhir.patch_json import MAX_COPIED, PatchFailed, apply_json_patch

PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "active": True,
    "birthDate": "1970-01-01",
    "_birthDate": {"extension": [{"url": "urn:x", "valueCode": "a"}]},
    "name": [
        {"family": "A", "given": ["B", "C"], "_given": [None, {"id": "c"}]},
        {"family": "D", "use": "usual"},
    ],
    "deceasedBoolean": False,
    "multipleBirthInteger": 2,
}


def operation(type_, path, **parts):
    made = [{"name": "type", "valueCode": type_}, {"name": "path", "valueString": path}]
    for name, value in parts.items():
        made.append({"name": name, **value})
    return {"name": "operation", "part": made}


def patched(*operations, resource=PATIENT):
    before = copy.deepcopy(resource)
    after = apply_fhirpath_patch(resource, {"resourceType": "Parameters", "parameter": list(operations)})
    assert resource == before
    return after


NAME = {"valueString": "name"}


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (operation("delete", "Patient.name[0].given[0]"), {"given": ["C"], "_given": [{"id": "c"}]}),
        (operation("delete", "Patient.name[0].given[1]"), {"given": ["B"]}),
        (
            operation(
                "insert", "Patient.name[0].given", index={"valueInteger": 1}, value={"valueString": "X"}
            ),
            {"given": ["B", "X", "C"], "_given": [None, None, {"id": "c"}]},
        ),
        (
            operation(
                "move", "Patient.name[0].given", source={"valueInteger": 1}, destination={"valueInteger": 0}
            ),
            {"given": ["C", "B"], "_given": [{"id": "c"}, None]},
        ),
        (
            operation("add", "Patient.name[0]", name={"valueString": "given"}, value={"valueString": "X"}),
            {"given": ["B", "C", "X"], "_given": [None, {"id": "c"}, None]},
        ),
        (
            operation(
                "replace", "Patient.name[0].given[1]", value={"valueString": "X", "_valueString": {"id": "x"}}
            ),
            {"given": ["B", "X"], "_given": [None, {"id": "x"}]},
        ),
    ],
)
def test_companions_of_list_items_move_with_them(given_, expected):
    assert patched(given_)["name"][0] == {"family": "A", **expected}


def test_a_primitive_is_replaced_and_deleted_with_its_companion():
    replaced = patched(operation("replace", "Patient.birthDate", value={"valueDate": "1980-01-01"}))
    assert replaced["birthDate"] == "1980-01-01"
    assert "_birthDate" not in replaced
    deleted = patched(operation("delete", "Patient.birthDate"))
    assert not {"birthDate", "_birthDate"} & deleted.keys()
    assert "_birthDate" not in patched(operation("delete", "Patient.birthDate.extension[0]"))


def test_a_choice_is_one_element_whatever_its_type():
    changed = patched(operation("replace", "Patient.deceased", value={"valueDateTime": "2020-01-01"}))
    assert changed["deceasedDateTime"] == "2020-01-01"
    assert "deceasedBoolean" not in changed
    with pytest.raises(PatchFailed):
        patched(
            operation(
                "add", "Patient", name={"valueString": "deceased"}, value={"valueDateTime": "2020-01-01"}
            )
        )
    with pytest.raises(PatchFailed):
        patched(operation("replace", "Patient.deceased", value={"valueCode": "x"}))


def test_conditions_choose_among_items():
    path = "Patient.name.where(use = 'usual' and family.exists()).family"
    assert patched(operation("replace", path, value={"valueString": "X"}))["name"][1]["family"] == "X"
    assert patched(operation("delete", "Patient.name.where(use = 'old')")) == PATIENT
    assert len(patched(operation("delete", "Patient.name.last()"))["name"]) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        operation("delete", "Patient.name"),
        operation("replace", "Patient.gender", value={"valueCode": "male"}),
        operation("add", "Patient", name={"valueString": "colour"}, value={"valueString": "SECRET"}),
        operation("add", "Patient", name={"valueString": "active"}, value={"valueBoolean": True}),
        operation("add", "Patient", name={"valueString": "gender"}),
        operation("add", "Patient.name.where(use = 'usual').period", name={"valueString": "end"}, value={}),
        operation(
            "insert", "Patient.name", index={"valueInteger": 3}, value={"valueHumanName": {"text": "x"}}
        ),
        operation("insert", "Patient.name", index={"valueInteger": -1}, value={"valueHumanName": {}}),
        operation("insert", "Patient.birthDate", index={"valueInteger": 0}, value={"valueDate": "2020"}),
        operation("move", "Patient.name", source={"valueInteger": 2}, destination={"valueInteger": 0}),
        operation("delete", "Patient"),
        operation("replace", "Patient", value={"resource": {"resourceType": "Patient"}}),
        operation("replace", "Patient.name.given.SECRET", value={"valueString": "x"}),
        operation("replace", "Patient.name[", value={"valueString": "x"}),
        operation("replace", "1 + 1", value={"valueString": "x"}),
        operation("destroy", "Patient.name"),
        {"name": "operation"},
        {"name": "other"},
        7,
    ],
)
def test_what_does_not_fit_is_refused_without_repeating_it(wrong):
    with pytest.raises(BadRequest) as caught:
        patched(wrong)
    assert "SECRET" not in str(caught.value)
    assert str(caught.value).startswith("operation 0")


# --- JSON Patch ----------------------------------------------------------------------------------------------


def test_json_patch_keeps_decimals_to_the_digit_and_compares_them_by_value():
    document = json.loads('{"a":[1.50,2],"b":1E+3}')
    patch = json.loads('[{"op":"test","path":"/a/0","value":1.5},{"op":"copy","from":"/a/0","path":"/c"}]')
    assert json.dumps(apply_json_patch(document, patch)) == b'{"a":[1.50,2],"b":1E+3,"c":1.50}'


@pytest.mark.parametrize(
    "wrong",
    [
        {"op": "replace", "path": "/missing", "value": 1},
        {"op": "remove", "path": "/missing"},
        {"op": "remove", "path": ""},
        {"op": "remove", "path": "/list/3"},
        {"op": "add", "path": "/list/4", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "replace", "path": "/list/-", "value": 1},
        {"op": "add", "path": "/text/0", "value": 1},
        {"op": "add", "path": "list", "value": 1},
        {"op": "add", "path": "/~2", "value": 1},
        {"op": "add", "path": "/a"},
        {"op": "move", "from": "/list", "path": "/list/0"},
        {"op": "copy", "path": "/a"},
        {"op": "test", "path": "/one", "value": True},
        {"op": "test", "path": "/yes", "value": 1},
        {"op": "test", "path": "/null"},
        {"op": "merge", "path": "/a"},
        {"path": "/a"},
    ],
)
def test_a_json_patch_that_does_not_fit_changes_nothing(wrong):
    document = {"list": [1, 2, 3], "text": "x", "one": 1, "yes": True, "null": None}
    before = copy.deepcopy(document)
    with pytest.raises(BadRequest):
        apply_json_patch(document, [{"op": "add", "path": "/list/-", "value": 4}, wrong][1:])
    assert document == before


def test_copies_of_copies_are_refused_before_they_take_all_memory():
    """Each of these doubles what is there: forty were a million million values."""
    grown = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 40
    with pytest.raises(BadRequest, match=r"operation 1[0-9]: the copies of this patch are too large"):
        apply_json_patch({"a": ["x"]}, grown)
    text = [{"op": "copy", "from": "/a", "path": f"/b{number}"} for number in range(100)]
    with pytest.raises(BadRequest, match="operation 16: the copies"):
        apply_json_patch({"a": "x" * (MAX_COPIED // 16 - 100)}, text)
    assert apply_json_patch({"a": "x" * 100_000}, text)["b99"] == "x" * 100_000


def test_a_patch_that_nests_too_deeply_is_refused():
    deeper = [{"op": "add", "path": "/a" + "/0" * depth, "value": []} for depth in range(3000)]
    with pytest.raises(BadRequest, match="nested too deeply"):
        apply_json_patch({}, [*deeper, {"op": "copy", "from": "/a", "path": "/b"}])


@pytest.mark.parametrize("wrong", [{}, "x", None, [1], [[]]])
def test_what_is_no_json_patch_is_refused(wrong):
    with pytest.raises(BadRequest):
        apply_json_patch({}, wrong)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab~/", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~/", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES, st.data())
def test_what_was_added_is_there_and_removing_it_gives_the_document_back(document, value, data):
    if not isinstance(document, dict):
        document = {"root": document}
    name = data.draw(st.text("ab~/", min_size=1, max_size=3).filter(lambda key: key not in document))
    path = "/" + name.replace("~", "~0").replace("/", "~1")
    added = apply_json_patch(document, [{"op": "add", "path": path, "value": value}])
    assert added[name] == value
    assert apply_json_patch(added, [{"op": "test", "path": path, "value": value}]) == added
    assert apply_json_patch(added, [{"op": "remove", "path": path}]) == document


# --- HL7's suites --------------------------------------------------------------------------------------------


@pytest.mark.corpus
def test_hl7_s_json_patch_suite_passes(cases):
    suite = plain_json.loads((cases / "fhir" / "fhir-test-cases" / "json-patch-tests.json").read_text())
    assert len(suite) == 16
    for case in suite:
        if "error" in case:
            with pytest.raises(BadRequest):
                apply_json_patch(case["doc"], case["patch"])
        else:
            assert apply_json_patch(case["doc"], case["patch"]) == case["expected"], case["comment"]


@pytest.mark.corpus
def test_hl7_s_fhirpath_patch_suite_passes(cases):
    root = ET.parse(cases / "fhir" / "fhir-test-cases" / "fhir-patch-tests.xml").getroot()
    suite = root.findall("case")
    assert len(suite) == 33
    for case in suite:
        before, patch = resource_of(case.find("input")[0]), resource_of(case.find("diff")[0])
        if case.find("error") is not None:
            with pytest.raises(BadRequest):
                apply_fhirpath_patch(before, patch)
        else:
            expected = resource_of(case.find("output")[0])
            assert without_layout(apply_fhirpath_patch(before, patch)) == without_layout(expected), case.get(
                "name"
            )


FHIR = "{http://hl7.org/fhir}"


def resource_of(element):
    """The resource that an XML element is, as far as the suite needs it (R4 xml.html)."""
    name = element.tag.removeprefix(FHIR)
    return {"resourceType": name, **object_of(element, name)}


def object_of(element, type_):
    made = {}
    if element.get("id"):
        made["id"] = element.get("id")
    if element.get("url"):
        made["url"] = element.get("url")
    for child in element:
        name = child.tag.rpartition("}")[2]
        info = definitions.element_info(type_, name)
        value, companion = value_of(child, info.type)
        if info.is_list:
            made.setdefault(name, []).append(value)
        elif value is not None:
            made[name] = value
        if companion:
            made[f"_{name}"] = companion
    return made


def value_of(element, type_):
    if type_ == "xhtml":
        return ET.tostring(element, encoding="unicode").replace("html:", "").replace(":html", ""), None
    if not definitions.is_primitive(type_.partition(".")[0]):
        return object_of(element, type_), None
    text = element.get("value")
    if type_ == "boolean":
        text = text == "true"
    elif type_ in ("integer", "positiveInt", "unsignedInt"):
        text = int(text)
    return text, object_of(element, "Element") or None


def without_layout(resource):
    """Narrative compared without its white space and prefixes."""
    if "text" not in resource:
        return resource
    div = ET.fromstring(resource["text"]["div"])
    words = [
        (node.tag, " ".join((node.text or "").split()), " ".join((node.tail or "").split()))
        for node in div.iter()
    ]
    return {**resource, "text": {**resource["text"], "div": words}}
