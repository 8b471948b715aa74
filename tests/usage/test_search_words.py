"""``_text`` and ``_content`` over HTTP: only where they are turned on, never of what is hidden, and never a 500.

R4 search.html#_text; docs/fhir-api.md.
"""

from __future__ import annotations

import random
import threading
import time
from urllib.parse import quote, urlencode

import pytest

from hdg.management.store.custom_register import Catalog
from hdg.management.store.meta import index_key
from hdg.management.store.text_fill import TextFill
from hdg.management.store.values import hasher
from hdg.search_index import SearchIndex

XHTML = "http://www.w3.org/1999/xhtml"
NORTH, SOUTH = "north", "south"


def narrated(resource, words):
    return resource | {"text": {"status": "generated", "div": f'<div xmlns="{XHTML}"><p>{words}</p></div>'}}


def observation(world, id_, who, words, note=""):
    made = narrated(world.observation(id_, who, "718-7", "2024-01-02"), words)
    return made | {"note": [{"text": note}]} if note else made


def step(world, *, is_on=True, window=200):
    return TextFill(world.store, hasher(index_key(world.keys.root)), is_on=is_on, window=window)


def turn(world, *, is_on=True):
    filling = step(world, is_on=is_on)
    while filling.step():
        pass


def ids(world, path, token):
    answer = world.client.get(path, token)
    assert answer.status_code == 200, answer.text
    found = [entry["resource"]["id"] for entry in answer.json().get("entry", ())]
    assert answer.json()["total"] == len(found)
    return sorted(found)


@pytest.fixture
def ward(either):
    """Visible to north: what north sent about ann. The words of the others are the same."""
    either.put(observation(either, "ann-0", "ann", "bone metastases", "left femur"), NORTH, "ann")
    either.put(observation(either, "ann-1", "ann", "liver metastases"), NORTH, "ann")
    either.put(observation(either, "ann-2", "ann", "femur"), SOUTH, "ann")
    either.put(observation(either, "bob-0", "bob", "bone metastases", "secret words"), SOUTH, "bob")
    either.put(narrated(either.patient("ann", "Eve", "Featherstonehaugh"), "a tall woman"), NORTH, "ann")
    either.put(narrated(either.patient("bob", "Otto", "Cholmondeley"), "a tall man"), SOUTH, "bob")
    turn(either)
    return either


@pytest.fixture
def north(ward):
    return ward.token("clinician", institution=NORTH)


def test_where_it_is_not_turned_on_it_is_refused_and_not_listed(either):
    token = either.token("clinician", institution=NORTH)
    for param in ("_text", "_content"):
        answer = either.client.get(f"/fhir/Observation?{param}=bone", token)
        assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "not-supported")
    assert listed(either) == []


def listed(world):
    rest = world.client.get("/fhir/metadata").json()["rest"][0]
    return [one["name"] for one in rest["searchParam"] if one["name"] not in ("_list", "_filter")]


def test_it_is_listed_and_answers_once_it_is_complete_and_no_more_when_it_is_turned_off(either):
    token = either.token("clinician", institution=NORTH)
    either.put(observation(either, "ann-0", "ann", "bone"), NORTH, "ann")
    filling = step(either, window=3)
    assert filling.step()
    answer = either.client.get("/fhir/Observation?_text=bone", token)
    assert answer.status_code == 400
    assert "not complete yet" in answer.json()["issue"][0]["diagnostics"]
    assert listed(either) == []
    while filling.step():
        pass
    assert listed(either) == ["_text", "_content"]
    assert ids(either, "/fhir/Observation?_text=bone", token) == ["ann-0"]
    turn(either, is_on=False)
    assert listed(either) == []
    assert either.client.get("/fhir/Observation?_text=bone", token).status_code == 400


def test_the_server_does_what_its_settings_say(make_world):
    world = make_world(search_text=True)
    world.put(observation(world, "ann-0", "ann", "bone"), NORTH, "ann")
    run(world, lambda stand: stand is not None and stand.is_full)
    token = world.token("clinician", institution=NORTH)
    assert ids(world, "/fhir/Observation?_text=bone", token) == ["ann-0"]
    world.settings = world.settings.model_copy(update={"search_text": False})
    run(world, lambda stand: stand is None)


def run(world, is_done):
    index = SearchIndex(world.settings, world.store, hasher(index_key(world.keys.root)), poll_s=0.01)
    index.start()
    try:
        deadline = time.monotonic() + 120
        while not is_done(Catalog(world.store.engine).current().texts):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        index.stop()


def test_only_what_the_caller_may_see_is_found_or_counted(ward, north):
    assert ids(ward, "/fhir/Observation?_text=metastases", north) == ["ann-0", "ann-1"]
    assert ids(ward, "/fhir/Observation?_content=femur", north) == ["ann-0"]
    assert ids(ward, "/fhir/Observation?_content=secret", north) == []
    south = ward.token("clinician", institution=SOUTH)
    assert ids(ward, "/fhir/Observation?_content=secret or femur", south) == ["ann-2", "bob-0"]
    ann = ward.token("patient", patient="ann")
    assert ids(ward, "/fhir/Observation?_text=metastases or femur", ann) == ["ann-0", "ann-1", "ann-2"]


def test_it_goes_with_everything_else_that_a_search_has(ward, north):
    both = '"bone metastases" or liver'
    for path, found in {
        f"Observation?_text={both}&_sort=-date": ["ann-0", "ann-1"],
        "Observation?_text=metastases&patient=ann&code=718-7": ["ann-0", "ann-1"],
        "Observation?_text=metastases&_content=femur": ["ann-0"],
        "Observation?_text=bone,liver": ["ann-0", "ann-1"],
        'Observation?_filter=_text co liver or _content co "left femur"': ["ann-0", "ann-1"],
        "Observation?_filter=status eq final and not (_content co metastases)": [],
        "Observation?subject:Patient._text=tall": ["ann-0", "ann-1"],
        "Patient?_has:Observation:patient:_content=femur": ["ann"],
        "Patient?_text=tall": ["ann"],
        "Patient/ann/Observation?_text=bone": ["ann-0"],
        "Patient/ann/*?_content=tall or femur": ["ann", "ann-0"],
        "?_content=tall or femur": ["ann", "ann-0"],
        "?_type=Observation,Condition&_text=metastases": ["ann-0", "ann-1"],
    }.items():
        assert ids(ward, f"/fhir/{path}", north) == found, path
    page = ward.client.get(
        "/fhir/Observation?_text=metastases&_count=1&_include=Observation:subject", north
    ).json()
    assert (page["total"], [entry["resource"]["id"] for entry in page["entry"]]) == (2, ["ann-1", "ann"])
    (following,) = [link["url"] for link in page["link"] if link["relation"] == "next"]
    assert "metastases" not in str(page["link"])
    page = ward.client.get(following.removeprefix("https://gateway.example"), north).json()
    assert [entry["resource"]["id"] for entry in page["entry"]] == ["ann-0", "ann"]
    form = {"content-type": "application/x-www-form-urlencoded"}
    posted = ward.client.request(
        "POST", "/fhir/Observation/_search", north, form, content=urlencode({"_text": both})
    )
    assert posted.json()["total"] == 2


def test_what_has_no_meaning_for_it_is_refused(ward, north):
    for query in ("_text:exact=bone", "_text:missing=true", "_content:not=bone", "_sort=_text", "_filter=_text eq bone",
                  "_filter=_text pr true", "_include=Observation:_text", "_text.name=x"):  # fmt: skip
        assert ward.client.get(f"/fhir/Observation?{query}", north).status_code == 400, query


def test_writes_and_subscriptions_do_not_depend_on_it(ward, north):
    content = {"resourceType": "Basic", "code": {"text": "x"}, "subject": {"reference": "Patient/ann"}}
    refused = ward.client.send("POST", "/fhir/Basic", north, content, **{"If-None-Exist": "_text=bone"})
    assert (refused.status_code, refused.json()["issue"][0]["code"]) == (400, "not-supported")
    assert ward.client.send("DELETE", "/fhir/Observation?_text=bone", north).status_code == 400
    made = {"resourceType": "Subscription", "status": "requested", "reason": "t", "criteria": "Observation?_text=bone",
            "channel": {"type": "websocket"}}  # fmt: skip
    assert ward.client.send("POST", "/fhir/Subscription", north, made).status_code == 400


def test_researchers_cannot_probe_texts(ward):
    ward.grant("ann", "ResearchStudy/p1", purposes=("HRESCH",))
    token = ward.token("researcher", purpose="HRESCH", project="p1")
    for query in ("Observation?_text=bone", "Observation?_content=femur", "Patient?_has:Observation:patient:_text=bone",
                  "Observation?subject:Patient._content=eve", "Observation?_text=nothing"):  # fmt: skip
        assert ward.client.get(f"/fhir/{query}", token).status_code == 403, query


def test_hidden_words_change_no_byte_of_any_answer(ward, north):
    chance = random.Random(7)
    words = [
        "metastases",
        "bone",
        "femur",
        "secret",
        "tall",
        "me*",
        '"bone metastases"',
        "(bone or secret)",
        "man",
    ]
    asked = [f"/fhir/Observation?_text={a} {how} {b}" for a in words for b in words for how in ("and", "or")]
    asked += [f"/fhir/Observation?_content={a}&_sort=date" for a in words]
    asked += [f"/fhir/Patient?_has:Observation:patient:_content={a}" for a in words]
    asked += [f"/fhir?_content={a}&_count={chance.choice((0, 1, 50))}" for a in words]

    def answers():
        found = [ward.client.get(path, north) for path in asked]
        assert {answer.status_code for answer in found} == {200}
        return [answer.content for answer in found]

    present = answers()
    for type_, id_ in (("Observation", "ann-2"), ("Observation", "bob-0"), ("Patient", "bob")):
        assert ward.client.get(f"/fhir/{type_}/{id_}", north).status_code == 404
        ward.delete(type_, id_, SOUTH)
    assert answers() == present


def test_no_query_is_a_500(ward, north):
    chance = random.Random(11)
    words = [
        "and",
        "OR",
        "NEAR",
        "not",
        "bone",
        "me*",
        "narrative:",
        "rowid",
        "--",
        "/*",
        "' OR 1=1",
        "a" * 300,
    ]
    signs = ["\\,", "\\\\", "ÿ", "é", "\u0301", "肺", "🦴", "\u200b", "\u2028", " "]
    pieces = [*"()\"'*:^+-&|!%_\\,;<>{}[]$~=?.", *words, *signs]
    statuses = set()
    for _ in range(150):
        value = "".join(chance.choices(pieces, k=chance.randint(1, 12)))
        param = chance.choice(("_text", "_content", "subject:Patient._text", "_text,", "_filter"))
        if param == "_filter":
            value = f"_content co {value}"
        answer = ward.client.get(f"/fhir/Observation?{param}={quote(value)}", north)
        assert answer.status_code in (200, 400), (param, value)
        statuses.add(answer.status_code)
    assert statuses == {200, 400}
    for value in ("%00bone", "%ED%A0%80", "%FF", "x" * 65_000, "bone+" * 13_000, "%22" * 999, "(" * 20_000):
        assert ward.client.get(f"/fhir/Observation?_text={value}", north).status_code in (200, 400)


def test_every_way_to_ask_answers_or_refuses(ward, north):
    for path, status in {
        "Observation/$lastn?patient=ann&category=laboratory&_text=bone": (200, 400),
        "Observation/$stats?subject=Patient/ann&_text=bone": (400,),
        "Patient/ann/$everything?_text=bone": (400,),
        "Observation/_history?_text=bone": (400,),
        "Observation/ann-0?_text=bone": (400,),
    }.items():
        assert ward.client.get(f"/fhir/{path}", north).status_code in status, path
    reads = [
        {"request": {"method": "GET", "url": f"Observation?_text={asked}"}}
        for asked in ("bone", "(", "secret")
    ]
    for kind in ("batch", "transaction"):
        bundle = {"resourceType": "Bundle", "type": kind, "entry": reads}
        answer = ward.client.send("POST", "/fhir", north, bundle)
        assert answer.status_code == 200
        statuses = [entry["response"]["status"][:3] for entry in answer.json()["entry"]]
        assert statuses == ["200", "400", "200"]
        assert [answer.json()["entry"][number]["resource"]["total"] for number in (0, 2)] == [1, 0]
    content = observation(ward, "new", "ann", "bone") | {"id": ""}
    del content["id"]
    for request in (
        {"method": "POST", "url": "Observation", "ifNoneExist": "_text=bone"},
        {"method": "PUT", "url": "Observation?_content=bone"},
    ):
        bundle = {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [{"resource": content, "request": request}],
        }
        assert ward.client.send("POST", "/fhir", north, bundle).status_code == 400


def test_what_a_client_writes_is_found_at_once_by_its_new_words_only(ward, north):
    made = ward.client.send(
        "PUT", "/fhir/Observation/ann-0", north, observation(ward, "ann-0", "ann", "spleen")
    )
    assert made.status_code == 200
    assert ids(ward, "/fhir/Observation?_text=spleen", north) == ["ann-0"]
    assert ids(ward, "/fhir/Observation?_text=bone", north) == []
    assert ward.client.send("DELETE", "/fhir/Observation/ann-0", north).status_code == 204
    assert ids(ward, "/fhir/Observation?_text=spleen", north) == []


def test_it_may_be_turned_off_and_on_while_searches_go_on(ward, north):
    done = threading.Event()

    def turns():
        for is_on in (False, True) * 4:
            turn(ward, is_on=is_on)
        done.set()

    turning = threading.Thread(target=turns)
    turning.start()
    statuses = set()
    while not done.is_set() or 200 not in statuses:
        path = "/fhir/Observation?_text=bone&_sort=date"
        statuses |= {answer.status_code for answer in ward.client.gather([(path, north)] * 8)}
    turning.join()
    assert statuses <= {200, 400}
    assert ids(ward, "/fhir/Observation?_text=bone", north) == ["ann-0"]
