"""What is hidden decides nothing of a write: the same requests, one after the other, get the same answers from a store
with the hidden resources and from one that never had them (access-policy.md, "Hidden is absent, for writes too").
"""

from __future__ import annotations

import re

from hdg.fhir import json

PATCH = "application/json-patch+json"
TAG = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "x"}]}}]}
LEAST = {
    "Patient": {},
    "Observation": {"status": "final", "code": {"text": "x"}},
    "List": {"status": "current", "mode": "working"},
    "Binary": {"contentType": "text/plain", "data": "eA=="},
    "Group": {"type": "person", "actual": True},
    "Composition": {
        "status": "final",
        "type": {"text": "x"},
        "date": "2024",
        "title": "t",
        "author": [{"display": "d"}],
    },
}
HIDDEN = {
    "Patient": {"identifier": [{"system": "urn:x", "value": "1"}]},
    "Observation": {"subject": {"reference": "Patient/ann"}},
    "List": {"identifier": [{"system": "urn:x", "value": "1"}]},
    "Binary": {},
    "Group": {"member": [{"entity": {"reference": "Patient/bob"}}]},
    "Composition": {"subject": {"reference": "Patient/ann"}},
}
CONDITIONS = {
    "Patient": ["identifier=urn:x|1", "_has:Group:member:type=person"],
    "Observation": ["subject=Patient/ann&code:text=x", "_list=hidden"],
    "List": ["identifier=urn:x|1"],
    "Composition": ["title=t", "subject:Patient.name=Eve&title=t"],
}


def resource(type_, **more):
    return {"resourceType": type_, **LEAST[type_], **more}


def about(reference):
    return resource("Observation", subject={"reference": "Patient/ann"}, focus=[{"reference": reference}])


def bundle(kind, request, content=None):
    entry = {"request": request} if content is None else {"request": request, "resource": content}
    return {"resourceType": "Bundle", "type": kind, "entry": [entry]}


def by_id(type_, place):
    same = resource(type_, id="hidden")
    for headers in ({}, {"if_match": 'W/"1"'}, {"if_match": 'W/"2"'}, {"if_none_match": "*"}):
        yield "PUT", place, same, headers
        yield "DELETE", place, None, headers
        yield "PATCH", place, [{"op": "test", "path": "/id", "value": "hidden"}], headers
    for operation in ("$meta-add", "$meta-delete"):
        yield "POST", f"{place}/{operation}", TAG, {}
    for mode in ("create", "update", "delete"):
        yield "GET", f"{place}/$validate?mode={mode}", None, {}
        yield "POST", f"/fhir/{type_}/$validate?mode={mode}", same, {}
    yield "POST", "/fhir/Observation", about(f"{type_}/hidden"), {}


def by_condition(type_, query):
    new = resource(type_)
    yield "DELETE", f"/fhir/{type_}?{query}", None, {}
    yield "PATCH", f"/fhir/{type_}?{query}", [{"op": "test", "path": "/id", "value": "x"}], {}
    yield "POST", "/fhir/Observation", about(f"{type_}?{query}"), {}
    for kind in ("batch", "transaction"):
        yield "POST", "/fhir", bundle(kind, {"method": "DELETE", "url": f"{type_}?{query}"}), {}
        reference = bundle(kind, {"method": "POST", "url": "Observation"}, about(f"{type_}?{query}"))
        yield "POST", "/fhir", reference, {}
        yield "POST", "/fhir", bundle(kind, {"method": "GET", "url": f"{type_}?{query}"}), {}
    yield "POST", f"/fhir/{type_}", new, {"if_none_exist": query}
    yield "PUT", f"/fhir/{type_}?{query}", new, {}
    create = {"method": "POST", "url": type_, "ifNoneExist": query}
    yield "POST", "/fhir", bundle("transaction", create, new), {}


def requests():
    for type_ in HIDDEN:
        place = f"/fhir/{type_}/hidden"
        yield from by_id(type_, place)
        for kind in ("batch", "transaction"):
            for method, content in (("PUT", resource(type_, id="hidden")), ("DELETE", None), ("GET", None)):
                yield "POST", "/fhir", bundle(kind, {"method": method, "url": f"{type_}/hidden"}, content), {}
        for query in ("_id=hidden", *CONDITIONS.get(type_, ())):
            yield from by_condition(type_, query)


def asked(world, token, request, names):
    """Status, headers and body, with what is random or a time replaced by its place in the order of appearance."""
    method, path, content, headers = request
    if method == "PATCH":
        headers = {**headers, "content_type": PATCH}
    answer = world.client.send(method, path, token, content, **headers)
    told = {name: answer.headers.get(name) for name in ("etag", "location", "content-type", "allow")}
    text = f"{answer.status_code} {json.dumps(told).decode()} {answer.text}"
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|\+00:00)", "TIME", text)
    text = re.sub(r"_page=[^\"&]+", "PAGE", text)
    return re.sub(r"\b[0-9a-f]{32}\b", lambda found: names.setdefault(found[0], f"#{len(names)}"), text)


def test_the_answers_to_writes_are_the_same_with_and_without_what_is_hidden(make_world):
    with_hidden, without = make_world(), make_world()
    for type_, more in HIDDEN.items():
        whose = {"Patient": "hidden", "Observation": "ann", "Composition": "ann", "Group": "bob"}.get(type_)
        with_hidden.put(resource(type_, id="hidden", **more), "south", whose)
    for world in (with_hidden, without):
        named = [{"item": {"reference": f"{type_}/hidden"}} for type_ in HIDDEN]
        world.put(resource("List", id="own", entry=named), "north", None)
    differing = {}
    for institution in ("north", "south"):
        seen = []
        for world in (with_hidden, without):
            token, names = world.token("clinician", institution=institution), {}
            seen.append([asked(world, token, request, names) for request in requests()])
        pairs = zip(requests(), *seen, strict=True)
        differing[institution] = [request for request, one, other in pairs if one != other]
        assert {"200", "201", "404", "412"} <= {answer[:3] for answer in seen[0]}
    assert differing["north"] == []
    assert len(differing["south"]) > 20  # who may see it gets other answers
