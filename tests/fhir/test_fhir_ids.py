"""hdg.fhir.ids and hdg.fhir.canonical: the same facts, the same id; the same content, the same bytes."""

from __future__ import annotations

import base64
import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir import ids
from hdg.fhir.canonical import canonical_bytes
from hdg.fhir.ids import PUBLIC_KEY, resource_id, resource_ids
from hdg.fhir.json import decimal, loads

facts = st.lists(st.text(), min_size=1, max_size=4)


@given(facts)
def test_an_id_is_repeatable_and_has_the_grammar_of_r4(parts: list[str]) -> None:
    made = resource_id(PUBLIC_KEY, "Patient", "hospital", parts)
    assert made == resource_id(PUBLIC_KEY, "Patient", "hospital", list(parts))
    assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", made)
    assert len(made) == 32


@given(facts)
def test_an_id_is_the_hmac_of_its_parts_in_base32(parts: list[str]) -> None:
    encoded = [part.encode("utf-8", "surrogatepass") for part in ("Patient", "a", *parts)]
    text = b"".join(len(part).to_bytes(8, "big") + part for part in encoded)
    letters = base64.b32encode(hmac.digest(PUBLIC_KEY, text, "sha256")[:20])
    assert resource_id(PUBLIC_KEY, "Patient", "a", parts) == letters.decode().lower()


@given(facts, facts)
def test_different_facts_get_different_ids(one: list[str], other: list[str]) -> None:
    same = resource_id(PUBLIC_KEY, "Patient", "a", one) == resource_id(PUBLIC_KEY, "Patient", "a", other)
    assert same == (one == other)


@given(
    st.lists(st.tuples(st.sampled_from(["Patient", "Observation"]), facts), max_size=5), st.integers(0, 40)
)
def test_many_ids_are_those_of_each(items: list[tuple[str, list[str]]], more: int) -> None:
    every = [*items, *(("Observation", [str(number)]) for number in range(more))]
    each = [resource_id(PUBLIC_KEY, kind, "a", parts) for kind, parts in every]
    assert resource_ids(PUBLIC_KEY, "a", every) == each


def test_ids_stay_the_same_when_what_is_kept_of_parts_has_been_given_up() -> None:
    many = [("Patient", [str(number), "long" * 100]) for number in range(3 * ids._MAX_PARTS)]
    made = resource_ids(PUBLIC_KEY, "a", many)
    assert made == resource_ids(PUBLIC_KEY, "a", many)
    assert len(set(made)) == len(many)
    kept = ids._packed.__self__  # type: ignore[attr-defined]  # the bound method's dict
    assert len(kept) <= ids._MAX_PARTS
    assert max(map(len, kept)) <= ids._MAX_PART


def test_one_of_many_ids_without_facts_is_refused() -> None:
    with pytest.raises(ValueError, match="fact"):
        resource_ids(PUBLIC_KEY, "a", [("Patient", ["x"]), ("Patient", [])])


def test_the_borders_between_parts_count() -> None:
    made = {
        resource_id(PUBLIC_KEY, "Patient", "a", ["bc"]),
        resource_id(PUBLIC_KEY, "Patient", "ab", ["c"]),
        resource_id(PUBLIC_KEY, "Patient", "a", ["b", "c"]),
        resource_id(PUBLIC_KEY, "Patien", "ta", ["bc"]),
        resource_id(b"another key", "Patient", "a", ["bc"]),
    }
    assert len(made) == 5


def test_an_id_never_changes_between_releases() -> None:
    made = resource_id(PUBLIC_KEY, "Patient", "hospital", ["urn:oid:1.2.3", "42"])
    assert made == "tzclipt7a5mctw46sr7fv4k644oz7vlj"


@pytest.mark.parametrize("key, parts", [(b"", ["a"]), (PUBLIC_KEY, [])])
def test_an_id_without_key_or_facts_is_refused(key: bytes, parts: list[str]) -> None:
    with pytest.raises(ValueError, match="key"):
        resource_id(key, "Patient", "a", parts)


def test_key_order_does_not_change_canonical_bytes_but_digits_do() -> None:
    one = {"resourceType": "Basic", "b": {"d": 1, "c": decimal("1.50")}}
    other = {"b": {"c": decimal("1.50"), "d": 1}, "resourceType": "Basic"}
    assert canonical_bytes(one) == canonical_bytes(other)
    assert canonical_bytes({"a": decimal("1.5")}) != canonical_bytes({"a": decimal("1.50")})


def test_the_version_in_meta_can_be_left_out() -> None:
    bare = {"resourceType": "Basic", "id": "1"}
    stored = {**bare, "meta": {"versionId": "3", "lastUpdated": "2024-01-01T00:00:00Z"}}
    assert canonical_bytes(stored, without_meta_version=True) == canonical_bytes(bare)
    tagged = {**bare, "meta": {"versionId": "3", "tag": [{"code": "x"}]}}
    assert b"tag" in canonical_bytes(tagged, without_meta_version=True)
    assert "meta" in stored, "the argument is not changed"


@given(
    st.recursive(
        st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s), max_leaves=15
    )
)
def test_canonical_bytes_are_stable(value: object) -> None:
    made = canonical_bytes({"a": value})
    assert canonical_bytes(loads(made)) == made
