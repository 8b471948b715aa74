"""Expansion of value sets against the definition, code by code (R4 valueset.html#compose)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir.expansion import Codes, Expander, NotExpandable

UNIVERSE = {"urn:a": "abcd", "urn:b": "abcd", "urn:tree": "rxyz"}
TREE = {
    "resourceType": "CodeSystem",
    "content": "complete",
    "concept": [{"code": "r", "concept": [{"code": "x", "concept": [{"code": "y"}]}, {"code": "z"}]}],
}
BELOW = {"r": {"r", "x", "y", "z"}, "x": {"x", "y"}, "y": {"y"}, "z": {"z"}}
SETS = {f"urn:vs:{n}": n for n in range(3)}

PART = st.one_of(
    st.builds(
        lambda system, codes: {"system": system, "concept": [{"code": code} for code in codes]},
        st.sampled_from(["urn:a", "urn:b"]),
        st.lists(st.sampled_from("abcd"), min_size=1, unique=True),
    ),
    st.builds(lambda system: {"system": system}, st.sampled_from(sorted(UNIVERSE))),
    st.builds(
        lambda op, value: {
            "system": "urn:tree",
            "filter": [{"property": "concept", "op": op, "value": value}],
        },
        st.sampled_from(["is-a", "descendent-of", "is-not-a"]),
        st.sampled_from("rxyz"),
    ),
)
COMPOSE = st.fixed_dictionaries(
    {"include": st.lists(PART, min_size=1, max_size=3)},
    optional={"exclude": st.lists(PART, max_size=2)},
)


def holds(part, system, code, sets):
    """Whether a part of a compose has a code, by its definition."""
    if "system" in part:
        if part["system"] != system:
            return False
        if "concept" in part and code not in {one["code"] for one in part["concept"]}:
            return False
        for one in part.get("filter", ()):
            kinds = BELOW[one["value"]]
            is_kept = {
                "is-a": code in kinds,
                "descendent-of": code in kinds - {one["value"]},
                "is-not-a": code not in kinds,
            }
            if not is_kept[one["op"]]:
                return False
    return all(has(sets[SETS[url]], system, code, sets) for url in part.get("valueSet", ()))


def has(compose, system, code, sets):
    return any(holds(part, system, code, sets) for part in compose["include"]) and not any(
        holds(part, system, code, sets) for part in compose.get("exclude", ())
    )


def in_expansion(expansion, system, code):
    found = expansion.get(system, Codes(frozenset()))
    return (code in found.codes) != found.is_rest


@given(st.lists(COMPOSE, min_size=3, max_size=3), st.data())
def test_an_expansion_has_exactly_the_codes_that_the_compose_says(composes, data):
    sets = dict(enumerate(composes))
    urls = data.draw(st.lists(st.sampled_from(sorted(SETS)[1:]), max_size=2, unique=True))
    if urls:
        sets[0] = {**sets[0], "include": [{**sets[0]["include"][0], "valueSet": urls}, {"valueSet": urls}]}

    def find(type_, url):
        if type_ == "CodeSystem":
            return TREE if url == "urn:tree" else None
        return {"resourceType": "ValueSet", "compose": sets[SETS[url]]}

    expansion = Expander(find).expand("urn:vs:0")
    for system, codes in UNIVERSE.items():
        for code in codes:
            assert in_expansion(expansion, system, code) == has(sets[0], system, code, sets)


CASES = [
    {},
    {"compose": {"include": []}},
    {"compose": {"include": [{"system": "urn:a", "filter": [{"property": "concept", "op": "is-a", "value": "a"}]}]}},
    {"compose": {"include": [{"system": "urn:tree", "filter": [{"property": "x", "op": "exists", "value": "true"}]}]}},
    {"compose": {"include": [{"valueSet": ["urn:nowhere"]}]}},
    {"compose": {"include": [{"version": "1"}]}},
    {"compose": {"inactive": False, "include": [{"system": "urn:a"}]}},
    {"expansion": {"total": 2, "contains": [{"system": "urn:a", "code": "a"}]}},
]  # fmt: skip


@pytest.mark.parametrize("value_set", CASES)
def test_what_cannot_be_told_is_said(value_set):
    find = lambda type_, url: TREE if url == "urn:tree" else None  # noqa: E731
    with pytest.raises(NotExpandable):
        Expander(find).of({"resourceType": "ValueSet", **value_set})


def test_a_given_expansion_counts_where_the_compose_cannot_be_told():
    found = Expander(lambda *_: None).of(
        {**CASES[4], "expansion": {"contains": [{"system": "urn:a", "code": "a"}]}}
    )
    assert found == {"urn:a": Codes(frozenset("a"))}
