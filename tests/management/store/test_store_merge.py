"""Laws of merging partial statements (DESIGN §3), on generated statements of several senders."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir.canonical import canonical_bytes
from hdg.fhir.json import decimal
from hdg.management.store.merge import item_hash, merge

ITEMS = st.sampled_from([{"value": str(n)} for n in range(5)])
LISTS = st.lists(ITEMS, min_size=1, max_size=3, unique_by=lambda item: item["value"])
STATEMENTS = st.fixed_dictionaries(
    {"resourceType": st.just("Patient"), "id": st.just("p")},
    optional={
        "telecom": LISTS,
        "identifier": LISTS,
        "gender": st.sampled_from(["male", "female"]),
        "birthDate": st.sampled_from(["1980", "1990"]),
        "_birthDate": st.just({"extension": [{"url": "x:y", "valueString": "z"}]}),
        "deceasedBoolean": st.booleans(),
        "meta": st.fixed_dictionaries({"tag": LISTS}),
    },
)
SENDERS = st.sampled_from(["A", "B", "C"])
DELETIONS = st.sets(st.sampled_from(["telecom", "identifier", "gender", "birthDate"]), max_size=2)
STEPS = st.lists(st.tuples(SENDERS, STATEMENTS, DELETIONS), min_size=1, max_size=6)
BARE = {"resourceType": "Patient", "id": "p"}


def play(steps):
    stored, parts = None, {}
    for sender, statement, deletions in steps:
        stored, parts = merge(stored, parts, statement, deletions, sender=sender)
    return stored, parts


def apply(state, sender, statement, deletions=()):
    return merge(*state, statement, deletions, sender=sender)


@given(STEPS, SENDERS, STATEMENTS, DELETIONS)
def test_saying_the_same_again_changes_nothing(steps, sender, statement, deletions) -> None:
    once = apply(play(steps), sender, statement, deletions)
    twice = apply(once, sender, statement, deletions)
    assert canonical_bytes(twice[0]) == canonical_bytes(once[0])
    assert twice[1] == once[1]


@given(STEPS, SENDERS, STATEMENTS)
def test_what_is_stated_is_there_afterwards(steps, sender, statement) -> None:
    merged, _ = apply(play(steps), sender, statement)
    for key, value in statement.items():
        if isinstance(value, list):
            assert {item_hash(item) for item in value} <= {item_hash(item) for item in merged[key]}
        elif key == "meta":
            assert all(item in merged["meta"]["tag"] for item in value["tag"])
        else:
            assert merged[key] == value


@given(STEPS, SENDERS)
def test_an_empty_statement_keeps_everything(steps, sender) -> None:
    before = play(steps)
    after, _ = apply(before, sender, BARE)
    assert after == before[0]


@given(STEPS, SENDERS, STATEMENTS, DELETIONS)
def test_other_senders_items_stay_whatever_one_sender_says(steps, sender, statement, deletions) -> None:
    before, parts = play(steps)
    stored, _ = apply((before, parts), sender, statement, deletions)
    whole = {other: owned for other, owned in parts.items() if owned is None and other != sender}
    for key in ("telecom", "identifier"):
        if whole:
            others = {item_hash(item) for item in before.get(key, ())}
        else:
            others = {
                h for other, owned in parts.items() if other != sender and owned for h in owned.get(key, ())
            }
        kept = {item_hash(item) for item in before.get(key, ())} & others
        assert kept <= {item_hash(item) for item in stored.get(key, ())}


@given(STEPS, SENDERS)
def test_a_deletion_removes_a_single_value_and_the_senders_own_items_only(steps, sender) -> None:
    before, parts = play(steps)
    stored, after = apply((before, parts), sender, BARE, ["telecom", "birthDate"])
    assert "birthDate" not in stored
    assert "_birthDate" not in stored
    others = {
        h for other, owned in after.items() if other != sender for h in (owned or {}).get("telecom", ())
    }
    if None not in [owned for other, owned in after.items() if other != sender]:
        assert {item_hash(item) for item in stored.get("telecom", ())} == others & {
            item_hash(item) for item in before.get("telecom", ())
        }


@given(STEPS, SENDERS, STATEMENTS, DELETIONS)
def test_no_argument_is_changed(steps, sender, statement, deletions) -> None:
    before = play(steps)
    copies = copy.deepcopy((before, statement))
    apply(before, sender, statement, deletions)
    assert (before, statement) == copies


@given(STEPS)
def test_no_empty_list_and_no_item_twice(steps) -> None:
    stored, _ = play(steps)
    for key in ("telecom", "identifier"):
        if key in stored:
            hashes = [item_hash(item) for item in stored[key]]
            assert hashes
            assert len(set(hashes)) == len(hashes)


def test_the_first_statement_is_taken_as_it_is() -> None:
    stored, parts = merge(
        None, {}, {**BARE, "meta": {"versionId": "3", "lastUpdated": "x"}}, ["gender"], sender="A"
    )
    assert (stored, parts) == (BARE, {"A": None})


def test_one_form_of_a_choice_replaces_the_other() -> None:
    first = {
        "resourceType": "Observation",
        "id": "o",
        "valueString": "x",
        "_valueString": {"id": "e"},
        "status": "final",
    }
    stored, parts = merge(None, {}, first, sender="A")
    second = {"resourceType": "Observation", "id": "o", "valueQuantity": {"value": decimal("1.50")}}
    stored, parts = merge(stored, parts, second, sender="A")
    assert stored == {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "valueQuantity": {"value": decimal("1.50")},
    }
    stored, _ = merge(stored, parts, {"resourceType": "Observation", "id": "o"}, ["value"], sender="A")
    assert "valueQuantity" not in stored


def test_a_new_primitive_drops_the_old_ones_companion() -> None:
    state = merge(None, {}, {**BARE, "birthDate": "1980", "_birthDate": {"id": "old"}}, sender="A")
    assert apply(state, "A", {**BARE, "birthDate": "1981"})[0] == {**BARE, "birthDate": "1981"}


def test_a_deletion_with_a_value_beside_it_leaves_the_value() -> None:
    state = merge(None, {}, {**BARE, "telecom": [{"value": "1"}, {"value": "2"}]}, sender="A")
    assert apply(state, "A", {**BARE, "telecom": [{"value": "3"}]}, ["telecom"])[0]["telecom"] == [
        {"value": "3"}
    ]


def test_items_that_differ_in_a_decimals_digits_are_two_items() -> None:
    one, two = ({"value": decimal(literal)} for literal in ("1.5", "1.50"))
    assert item_hash(one) != item_hash(two)
    assert item_hash({"a": 1, "b": 2}) == item_hash({"b": 2, "a": 1})
