"""Query strings are read strictly, and nothing of a value comes back in an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.errors import BadRequest
from hdg.management.store.pages import encoded
from hdg.usage.fhir_api.negotiation import NotAcceptable, check_accept, take_format
from hdg.usage.fhir_api.paging import PageToken, PageTokens
from hdg.usage.fhir_api.query import MAX_PAIRS, alternatives, describe, pairs


def test_pairs_keep_their_order_and_their_repetitions():
    assert pairs(b"date=ge2020&code=a%7Cb&date=lt2021") == [
        ("date", "ge2020"),
        ("code", "a|b"),
        ("date", "lt2021"),
    ]


@pytest.mark.parametrize(
    "encoded", [b"name=%FF", b"name=\xff", b"name=%00", b"n%01ame=x", b"&".join([b"a=b"] * (MAX_PAIRS + 1))]
)
def test_what_cannot_be_read_is_a_bad_request(encoded):
    with pytest.raises(BadRequest):
        pairs(encoded)


@pytest.mark.parametrize("encoded", [b"name=Johnson&Smith", b"Smith", b"name=&Smith&x=y"])
def test_a_piece_without_a_sign_of_equality_may_be_data_and_is_not_repeated(encoded):
    with pytest.raises(BadRequest, match="a parameter without '='") as caught:
        pairs(encoded)
    assert "Smith" not in str(caught.value)


def test_a_parameter_may_have_an_empty_value_or_be_followed_by_nothing():
    assert pairs(b"name=&&code=a&") == [("name", ""), ("code", "a")]


@given(st.binary(max_size=200))
def test_any_bytes_give_pairs_or_a_bad_request(encoded):
    try:
        found = pairs(encoded)
    except BadRequest:
        return
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in found)


def test_a_parameter_name_that_looks_like_data_is_not_repeated():
    assert "Doe" not in describe("Doe^John 1970-01-01")
    assert describe("name:exact") == "parameter 'name:exact'"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a", ("a",)),
        ("a,b", ("a", "b")),
        (r"a\,b,c", (r"a\,b", "c")),
        (r"a\\,b", (r"a\\", "b")),
        (r"a\\\,b", (r"a\\\,b",)),
    ],
)
def test_commas_split_unless_a_backslash_escapes_them(text, values):
    assert alternatives("code", text) == values


@pytest.mark.parametrize("text", ["", "a,", ",a", "a,,b"])
def test_an_empty_alternative_is_refused(text):
    with pytest.raises(BadRequest, match="code"):
        alternatives("code", text)


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "application/fhir+json",
        "application/fhir+json; fhirVersion=4.0",
        "application/json;q=0.5, application/xml",
        "text/html,application/xhtml+xml,*/*;q=0.8",
    ],
)
def test_json_is_given_where_accept_allows_it(accept):
    check_accept(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "application/fhir+xml",
        "application/fhir+json;q=0",
        "application/fhir+json;fhirVersion=5.0",
        "text/turtle",
    ],
)
def test_anything_but_json_is_not_acceptable(accept):
    with pytest.raises(NotAcceptable):
        check_accept(accept)


def test_format_is_taken_out_and_only_json_passes():
    assert take_format([("_format", "application/fhir json"), ("a", "b")]) == [("a", "b")]
    assert take_format([("_format", "json")]) == []
    with pytest.raises(NotAcceptable):
        take_format([("_format", "xml")])


TOKENS = PageTokens(bytes(64))


@given(
    st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=5),
    st.text(max_size=40),
    st.lists(st.text(max_size=10), max_size=4),
)
def test_a_page_token_opens_to_what_was_sealed(given_pairs, cursor, binding):
    token = PageToken(tuple(given_pairs), cursor)
    assert TOKENS.open(TOKENS.seal(token, binding), binding) == token


def test_a_page_token_holds_nothing_readable_and_is_the_same_each_time():
    token = PageToken((("name", "Featherstonehaugh"),), "17")
    sealed = TOKENS.seal(token, ("route",))
    assert sealed == TOKENS.seal(token, ("route",))
    assert "eather" not in sealed
    assert sealed.replace("-", "").replace("_", "").isalnum()
    assert len(sealed) == len(TOKENS.seal(PageToken((("name", "Po"),), "17"), ("route",)))


@pytest.mark.parametrize("text", ["", "A", "AAAA", "é", "A" * 200, "..", "%"])
def test_a_made_up_page_token_is_refused(text):
    with pytest.raises(BadRequest):
        TOKENS.open(text, ("route",))


def test_a_page_token_is_refused_for_another_principal_route_or_key():
    sealed = TOKENS.seal(PageToken(()), ("search Patient", "clinician", "a"))
    for tokens, binding in [
        (TOKENS, ("search Patient", "clinician", "b")),
        (TOKENS, ("search Observation", "clinician", "a")),
        (TOKENS, ("search Patient", "clinician")),
        (PageTokens(bytes(63) + b"1"), ("search Patient", "clinician", "a")),
    ]:
        with pytest.raises(BadRequest):
            tokens.open(sealed, binding)


@pytest.mark.parametrize("length", range(0, 140, 7))
def test_a_page_link_s_length_tells_nothing_of_the_number_that_its_cursor_holds(length):
    """Whatever the client asks for beside it: the digits would tell how much is stored, hidden or not."""
    pairs = (("code", "x" * length),)
    links = set()
    for number in (1, 9_999, 123_456_789_012):
        cursor = encoded([number, 17, -(2**63)])
        sealed = TOKENS.seal(PageToken(pairs, cursor), ("search Observation",))
        assert TOKENS.open(sealed, ("search Observation",)) == PageToken(pairs, cursor)
        links.add(len(sealed))
    assert len(links) == 1
