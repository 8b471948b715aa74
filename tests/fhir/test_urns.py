"""One spelling of a UUID. RFC 9562 §4, RFC 8141 §3.1, R4 datatypes.html#uri."""

from __future__ import annotations

import pytest

from hdg.fhir.urns import plain_uuid, spellings, urn_of_uuid, with_one_case
from hdg.management.store.values import hasher

LOWER = "0b5fa2c1-9d3e-4f60-8a7b-1c2d3e4f5a6b"
UPPER = LOWER.upper()


@pytest.mark.parametrize("text", [LOWER, UPPER, LOWER.title(), f"{{{UPPER}}}"])
def test_a_uuid_in_any_case_and_in_braces_is_one_urn(text: str) -> None:
    assert plain_uuid(text) == LOWER
    assert urn_of_uuid(text) == f"urn:uuid:{LOWER}"


@pytest.mark.parametrize(
    "text", ["", "2.999.1", LOWER[:-1], LOWER + "0", LOWER.replace("-", ""), f"{{{LOWER}", "G" + LOWER[1:]]
)
def test_anything_else_is_no_uuid(text: str) -> None:
    assert plain_uuid(text) is None
    assert urn_of_uuid(text) is None
    assert spellings(text) == (text,)


def test_urns_of_uuids_and_oids_have_one_case_and_other_uris_keep_theirs() -> None:
    assert with_one_case(f"URN:UUID:{UPPER}") == f"urn:uuid:{LOWER}"
    assert with_one_case("URN:OID:2.999.1") == "urn:oid:2.999.1"
    for other in (
        "https://Example.org/A",
        "urn:example:A",
        f"urn:uuid:{UPPER}#A",
        "urn:oid:2.999.A",
        UPPER,
        "",
    ):
        assert with_one_case(other) == other


def test_what_is_declared_is_looked_up_as_written_and_in_both_cases() -> None:
    mixed = LOWER.replace("b", "B")
    assert spellings(mixed) == (mixed, LOWER, UPPER)
    assert spellings(LOWER) == (LOWER, UPPER)


def test_the_index_knows_a_uuid_in_any_case_and_tells_all_other_cases_apart() -> None:
    hash_ = hasher(b"k" * 32)
    assert hash_(f"urn:uuid:{UPPER}") == hash_(f"urn:uuid:{LOWER}")
    assert hash_("urn:example:A") != hash_("urn:example:a")
    assert hash_(UPPER) != hash_(LOWER)
