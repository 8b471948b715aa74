"""Searches with modifiers against a brute-force evaluator over the resources' JSON, on both databases.

R4 search.html#modifiers. The evaluator knows nothing of the index: it looks at every resource as the
specification says.
"""

from __future__ import annotations

import random
import unicodedata

from hdg.fhir import definitions

ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
SYSTEMS = ["urn:a", "urn:b", ""]
CODES = ["1", "2", "3", "IMP"]
TEXTS = ["Headache", "headless", "HÉAD ", "ache", "Straße 5", "strasse", "a b", "", None, None]
CLASSES = ["IMP", "ACUTE", "NONAC", "AMB", "SS"]
URLS = ["http://x.org/", "http://x.org/a", "http://x.org/a/b", "http://x.org/ab", "http://y.org/a", "urn:q"]
SETS = {
    "one": [{"system": "urn:a", "concept": [{"code": "1"}, {"code": "2"}]}],
    "all": [{"system": "urn:a"}, {"system": "urn:b", "concept": [{"code": "3"}]}],
    "none": [{"system": "urn:c"}],
}
STATUSES = ["planned", "arrived", "finished"]


def fold(text):
    parts = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(c for c in parts if not unicodedata.combining(c)).split())


# --- resources ------------------------------------------------------------------------------------------------


def pruned(made):
    return {name: value for name, value in made.items() if value}


def concept(chance):
    codings = [
        pruned(
            {
                "system": chance.choice(SYSTEMS),
                "code": chance.choice([*CODES, ""]),
                "display": chance.choice(TEXTS),
            }
        )
        for _ in range(chance.choice((0, 1, 1, 2)))
    ]
    made = pruned({"coding": [one for one in codings if one], "text": chance.choice(TEXTS)})
    return made or None


def reference(chance):
    made = chance.choice([{"reference": "Patient/ann"}, {"type": "Group"}, {"type": "Patient"}, {}])
    if chance.random() < 0.6 or made.keys() <= {"type"}:
        made = {
            **made,
            "identifier": {"system": chance.choice(["urn:a", "urn:b"]), "value": chance.choice("12")},
        }
    return made


def resources(chance):
    for number in range(24):
        made = {"code": concept(chance), "clinicalStatus": concept(chance), "subject": reference(chance)}
        yield {"resourceType": "Condition", "id": f"c{number}", **pruned(made)}
    for number in range(10):
        class_ = {"system": chance.choice([ACT, ACT, "urn:a"]), "code": chance.choice(CLASSES)}
        status = chance.choice(STATUSES)
        made = {"class": class_, "status": status, "subject": {"reference": "Patient/ann"}}
        yield {"resourceType": "Encounter", "id": f"e{number}", **made}
    for number in range(12):
        typed = {
            "coding": [
                {"system": "urn:t", "code": code} for code in chance.sample("MN", chance.choice((1, 2)))
            ]
        }
        typed |= pruned({"text": chance.choice(TEXTS)})
        identifier = pruned(
            {"system": "urn:a", "value": chance.choice("12"), "type": chance.choice([typed, None])}
        )
        yield pruned(
            {"resourceType": "Organization", "id": f"o{number}", "identifier": [identifier], "name": "x"}
        )
    for number, url in enumerate(URLS):
        yield {
            "resourceType": "CodeSystem",
            "id": f"s{number}",
            "status": "active",
            "content": "complete",
            "url": url,
        }


# --- the evaluator --------------------------------------------------------------------------------------------


def token(item, value):
    """An Identifier or Coding against code, system|code, |code or system|."""
    code, system = item.get("code", item.get("value", "")), item.get("system", "")
    left, bar, right = value.rpartition("|")
    return bool(code) and (not right or code == right) and (not bar or system == left)


def codings(resource, name):
    value = resource.get(name, {})
    return value.get("coding", [value] if "code" in value else [])


def within(coding, system, codes):
    return (
        "code" in coding and coding.get("system", "") == system and (codes is None or coding["code"] in codes)
    )


def in_set(coding, name):
    return any(
        within(
            coding, part["system"], [one["code"] for one in part["concept"]] if "concept" in part else None
        )
        for part in SETS[name]
    )


def kinds_above(code):
    above = definitions.code_system(ACT)
    found, todo = {code}, [code]
    while todo:
        new = set(above[todo.pop()]) - found
        found |= new
        todo += new
    return found


def names(value):
    return [value.get("text", ""), *(one.get("display", "") for one in value.get("coding", ()))]


def matches(resource, code, modifier, value):
    """Whether one value of a parameter is met."""
    if code == "subject" or code == "patient":
        subject = resource.get("subject", {})
        is_patient = subject.get("type", "Patient") == "Patient"
        return (code == "subject" or is_patient) and token(subject.get("identifier", {}), value)
    if code == "identifier":
        found = resource.get("identifier", [])
        if modifier == "text":
            return any(starts([one.get("type", {}).get("text", "")], value) for one in found)
        system, type_code, text = value.split("|")
        wanted = {"system": system, "code": type_code}
        return any(wanted in one.get("type", {}).get("coding", ()) and one["value"] == text for one in found)
    if code == "url":
        mine = resource["url"]
        return mine.startswith(value) if modifier == "below" else value.startswith(mine)
    name = {"clinical-status": "clinicalStatus"}.get(code, code)
    if code == "status":
        return (
            value.endswith("encounter-status")
            or value == f"http://hl7.org/fhir/encounter-status|{resource['status']}"
        )
    if modifier == "text":
        return starts(names(resource.get(name, {})), value)
    found = codings(resource, name)
    if modifier in ("in", "not-in"):
        return any(in_set(one, value.removeprefix("urn:vs:")) for one in found)
    if modifier == "above":
        return any(within(one, ACT, kinds_above(value.partition("|")[2])) for one in found)
    if modifier == "below":
        return any(
            within(one, ACT, CLASSES) and value.partition("|")[2] in kinds_above(one["code"]) for one in found
        )
    return any(token(one, value) for one in found)


def starts(texts, value):
    return any(fold(text).startswith(fold(value)) for text in texts if text)


def has_any(resource, code):
    name = {"clinical-status": "clinicalStatus", "patient": "subject"}.get(code, code)
    value = resource.get(name)
    if code == "patient" and value is not None and value.get("type", "Patient") != "Patient":
        return False
    if name in ("code", "clinicalStatus") and value is not None:
        return bool(
            [one for one in codings(resource, name) if "code" in one] or [t for t in names(value) if t]
        )
    return value is not None


def expected(every, type_, asked):
    found = []
    for resource in every:
        if resource["resourceType"] != type_:
            continue
        for code, modifier, values in asked:
            if modifier == "missing":
                is_met = has_any(resource, code) != (values == ["true"])
            else:
                is_met = any(matches(resource, code, modifier, value) for value in values)
                is_met = is_met != (modifier in ("not", "not-in"))
            if not is_met:
                break
        else:
            found.append(resource["id"])
    return sorted(found)


# --- questions ------------------------------------------------------------------------------------------------


def question(chance):
    type_ = chance.choice(["Condition", "Condition", "Condition", "Encounter", "Organization", "CodeSystem"])
    asked = [one(chance, type_) for _ in range(chance.choice((1, 1, 2, 3)))]
    return type_, asked


def one(chance, type_):
    def some(values):
        return [chance.choice(values) for _ in range(chance.choice((1, 1, 2)))]

    texts = ["head", "HEAD", "headl", "ache", "strasse", "Straße 5", "a  b", "h"]
    if type_ == "CodeSystem":
        return "url", chance.choice(["above", "below"]), some([*URLS, "http://x.org/a/b/c", "http"])
    if type_ == "Encounter":
        status = [f"http://hl7.org/fhir/encounter-status|{status}" for status in STATUSES]
        return chance.choice(
            [
                ("class", chance.choice(["above", "below"]), some([f"{ACT}|{code}" for code in CLASSES])),
                ("class", chance.choice(["in", "not-in"]), some([f"urn:vs:{name}" for name in SETS])),
                ("status", "in", ["http://hl7.org/fhir/ValueSet/encounter-status"]),
                ("status", chance.choice(["above", "below"]), some(status)),
            ]
        )
    if type_ == "Organization":
        typed = [f"urn:t|{code}|{value}" for code in "MN" for value in "12"]
        return chance.choice(
            [
                ("identifier", "of-type", some(typed)),
                ("identifier", "text", some(texts)),
                ("identifier", "missing", [chance.choice(["true", "false"])]),
            ]
        )
    code = chance.choice(["code", "clinical-status"])
    tokens = [f"{system}|{one}" for system in SYSTEMS for one in CODES] + CODES + ["urn:a|"]
    who = [f"{system}|{value}" for system in ("urn:a", "urn:b") for value in "12"] + ["1", "urn:b|"]
    return chance.choice(
        [
            (code, "text", some(texts)),
            (code, chance.choice(["in", "not-in"]), some([f"urn:vs:{name}" for name in SETS])),
            (code, "not", some(tokens)),
            (code, "missing", [chance.choice(["true", "false"])]),
            (chance.choice(["subject", "patient"]), "identifier", some(who)),
            (chance.choice(["subject", "patient"]), "missing", [chance.choice(["true", "false"])]),
        ]
    )


def test_searches_with_modifiers_find_what_the_specification_says(either):
    chance = random.Random(11)
    every = list(resources(chance))
    for resource in every:
        either.put(resource, "north", None)
    for name, include in SETS.items():
        made = {"resourceType": "ValueSet", "id": name, "status": "active", "url": f"urn:vs:{name}"}
        either.put({**made, "compose": {"include": include}}, "north", None)
    either.grant("ann", "Organization/north")
    token_ = either.token("clinician", institution="north")
    found = 0
    for _ in range(250):
        type_, asked = question(chance)
        pairs = [(f"{code}:{modifier}", ",".join(values)) for code, modifier, values in asked]
        answer = either.client.get(f"/fhir/{type_}", token_, params=[*pairs, ("_count", "100")])
        assert answer.status_code == 200, (pairs, answer.text)
        ids = sorted(entry["resource"]["id"] for entry in answer.json().get("entry", ()))
        wanted = expected(every, type_, asked)
        assert (type_, pairs, ids) == (type_, pairs, wanted)
        found += bool(ids)
    assert found > 100
