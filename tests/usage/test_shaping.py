"""_summary, _elements, _pretty, gzip, and Prefer: handling=lenient (R4 search.html#summary, http.html#general)."""

from __future__ import annotations

import gzip

import pytest

from hdg.fhir.validate import validate
from hdg.usage.fhir_api.wire import pretty


@pytest.fixture
def north(world):
    return world.token("clinician", user="dr-north", institution="north")


RICH = {
    "resourceType": "Patient",
    "id": "rich",
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'},
    "identifier": [{"system": "urn:example:mrn", "value": "MRN-rich"}],
    "name": [{"family": "Rich"}],
    "photo": [{"url": "http://example.org/p.png"}],
    "deceasedBoolean": False,
    "communication": [{"language": {"text": "de"}, "preferred": True}],
    "link": [{"other": {"reference": "Patient/ann"}, "type": "seealso"}],
}


@pytest.fixture
def rich(world):
    world.put(RICH, "north", "rich")
    return world


def get(world, token, path, status=200, **headers):
    answer = world.client.get(f"/fhir/{path}", token, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


ALWAYS = {"resourceType", "id", "meta"}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("_summary=true", {"identifier", "name", "deceasedBoolean", "link"}),
        ("_summary=text", {"text"}),
        ("_summary=data", RICH.keys() - {"text", *ALWAYS}),
        ("_elements=name,photo", {"name", "photo"}),
        ("_elements=deceased", {"deceasedBoolean"}),
        ("_elements=Patient.photo", {"photo"}),
    ],
)
def test_a_part_of_a_resource_is_tagged_wherever_it_is_shown(rich, north, shape, expected):
    shown = [
        get(rich, north, f"Patient/rich?{shape}"),
        get(rich, north, f"Patient/rich/_history/1?{shape}"),
        get(rich, north, f"Patient?_id=rich&{shape}")["entry"][0]["resource"],
        get(rich, north, f"Patient/rich/_history?{shape}")["entry"][0]["resource"],
        get(rich, north, f"Patient/_history?{shape}")["entry"][0]["resource"],
    ]
    for resource in shown:
        assert resource.keys() - ALWAYS == expected
        assert resource["meta"]["tag"][-1]["code"] == "SUBSETTED"
        assert resource["meta"]["versionId"] == "1"
        assert validate(resource) == []
    whole = get(rich, north, "Patient/rich?_summary=false")
    assert "tag" not in whole["meta"]
    assert whole.keys() == {*RICH, "meta"}


def test_a_summary_keeps_of_a_backbone_what_belongs_to_it(rich, north):
    observation = rich.observation("ann-0", "ann", "718-7", "2024-01-01")
    component = {"code": {"text": "a"}, "valueInteger": 1, "interpretation": [{"text": "high"}]}
    rich.put({**observation, "component": [component], "note": [{"text": "n"}]}, "north", "ann")
    shown = get(rich, north, "Observation/ann-0?_summary=true")
    assert shown["component"] == [{"code": {"text": "a"}, "valueInteger": 1}]
    assert "note" not in shown
    assert shown["valueQuantity"]["value"] == 5


def test_mandatory_elements_stay_and_included_resources_stay_whole(rich, north):
    bundle = get(rich, north, "Observation?_id=ann-0&_elements=subject&_include=Observation:subject")
    assert bundle["entry"][0]["resource"].keys() - ALWAYS == {"status", "code", "subject"}
    assert "birthDate" in bundle["entry"][1]["resource"]


def test_pages_keep_their_shape_and_a_count_is_only_a_total(rich, north):
    bundle = get(rich, north, "Observation?_count=1&_elements=code")
    url = next(link["url"] for link in bundle["link"] if link["relation"] == "next")
    second = get(rich, north, url.removeprefix("https://gateway.example/fhir/"))
    assert "effectiveDateTime" not in second["entry"][0]["resource"]
    counted = get(rich, north, "Observation?_summary=count")
    assert (counted["total"], "entry" in counted) == (3, False)


@pytest.mark.parametrize(
    "query",
    [
        "_summary=x",
        "_summary=true&_elements=name",
        "_elements=colour",
        "_summary=true&_summary=data",
        "_pretty=x",
    ],
)
def test_shapes_that_are_not_understood_are_refused(rich, north, query):
    get(rich, north, f"Patient?{query}", 400)
    get(rich, north, f"Patient/ann?{query}", 400)
    get(rich, north, "Patient/ann?_summary=count", 400)


def test_pretty_answers_differ_in_white_space_alone(rich, north):
    plain = rich.client.get("/fhir/Patient/rich", north).content
    laid = rich.client.get("/fhir/Patient/rich?_pretty=true", north)
    assert laid.content.startswith(b'{\n  "resourceType": "Patient",\n')
    assert laid.json() == get(rich, north, "Patient/rich")
    assert int(laid.headers["content-length"]) == len(laid.content)
    assert rich.client.get("/fhir/Patient/rich?_pretty=false", north).content == plain
    missing = rich.client.get("/fhir/Patient/nobody?_pretty=true", north)
    assert missing.status_code == 404
    assert missing.content.startswith(b"{\n")


def test_numbers_and_texts_keep_their_bytes_when_they_are_laid_out():
    body = b'{"a":1.50,"b":[1E+3,-0.0,{}],"c":"x, {y}: \\"[z]\\" ","d":[],"e":null}'
    laid = pretty(body)
    assert b"1.50" in laid
    assert b"1E+3" in laid
    assert b'"x, {y}: \\"[z]\\" "' in laid
    kept = "".join(part for part in laid.decode().split("\n"))
    assert kept.replace(" ", "") == body.decode().replace(" ", "")


def test_long_answers_are_compressed_on_request(rich, north):
    plain = rich.client.get("/fhir/Observation", north, headers={"accept-encoding": "identity"})
    packed = rich.client.get("/fhir/Observation", north, headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "accept-encoding" in packed.headers["vary"].lower()
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) == len(gzip.compress(plain.content, 5)) or int(
        packed.headers["content-length"]
    ) < len(plain.content)
    short = rich.client.get("/fhir/Patient/ann", north, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in short.headers


def test_a_lenient_search_ignores_what_is_not_supported_and_says_so(rich, north):
    path = "Observation?code=718-7&colour=purple&_id:loud=x&_count=2"
    assert rich.client.get(f"/fhir/{path}", north).status_code == 400
    bundle = get(rich, north, path, prefer="handling=lenient")
    assert bundle["total"] == 3
    outcome = bundle["entry"][-1]
    assert outcome["search"]["mode"] == "outcome"
    texts = " ".join(issue["diagnostics"] for issue in outcome["resource"]["issue"])
    assert "colour" in texts
    assert "purple" not in texts
    self_link = next(link["url"] for link in bundle["link"] if link["relation"] == "self")
    again = get(rich, north, self_link.removeprefix("https://gateway.example/fhir/"))
    assert again["total"] == 3
    assert (
        rich.client.get("/fhir/Observation?date=x", north, headers={"prefer": "handling=lenient"}).status_code
        == 400
    )
