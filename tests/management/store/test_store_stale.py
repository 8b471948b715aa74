"""The newest statement counts, whatever order they arrive in (stale.py)."""

from __future__ import annotations

from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import true

from hdg.fhir.canonical import canonical_bytes
from hdg.fhir.json import loads
from hdg.management.store import Store, WriteSession
from hdg.management.store.merge import merge
from hdg.management.store.ready import ready
from hdg.management.store.stale import Heard, Stamp, admit, gap, is_apart, is_worth_noting, said_again

BARE = {"resourceType": "Patient", "id": "p"}
NONE = {"resourceType": "Patient"}
ITEMS = st.sampled_from([{"value": str(n)} for n in range(4)])
LISTS = st.lists(ITEMS, min_size=1, max_size=2, unique_by=lambda item: item["value"])
CONTENT = st.fixed_dictionaries(
    {},
    optional={
        "telecom": LISTS,
        "gender": st.sampled_from(["male", "female", "unknown"]),
        "birthDate": st.sampled_from(["1980", "1990"]),
        "_birthDate": st.just({"extension": [{"url": "x:y", "valueString": "z"}]}),
        "deceasedBoolean": st.booleans(),
        "deceasedDateTime": st.just("2020"),
        "link": st.lists(
            st.sampled_from([{"type": "replaces", "other": {"reference": f"Patient/{n}"}} for n in "abc"]),
            min_size=1,
            max_size=1,
        ),
        "meta": st.fixed_dictionaries({"tag": LISTS}),
    },
)
CONTENT = CONTENT.map(
    lambda content: {
        key: content[key] for key in content if key != "deceasedBoolean" or "deceasedDateTime" not in content
    }
)
"""A choice has one form."""
DELETIONS = st.sets(st.sampled_from(["telecom", "gender", "birthDate", "deceased"]), max_size=2)
GAPS = st.sets(st.sampled_from(["gender"]), max_size=1)


@st.composite
def statements(draw, senders="AB"):
    count = draw(st.integers(min_value=2, max_value=5))
    made = [
        (number, draw(st.sampled_from(senders)), draw(CONTENT), draw(DELETIONS), draw(GAPS))
        for number in range(1, count + 1)
    ]
    return made, draw(st.permutations(made))


def play(steps):
    return played(steps)[0]


def played(steps):
    stored, parts, said = None, {}, []
    for at, sender, content, deletions, gaps in steps:
        statement = {**BARE, **content}
        news = admit(
            said,
            stored or NONE,
            statement,
            sorted(deletions),
            sender=sender,
            stamp=Stamp(at, at),
            gaps=gaps & set(content),
        )
        stored, parts = merge(stored, parts, news.statement, news.deletions, sender=sender)
        said = news.said(stored)
    return stored, said


def comparable(content):
    """Items of lists in one order: where two senders' items stand depends on who spoke first.

    Of a death, that it is one: a date that was contradicted in between is known only to who heard it in time.
    """
    if "deceasedDateTime" in content:
        content = {**content, "deceasedBoolean": True}
        del content["deceasedDateTime"]
    return canonical_bytes(
        {
            key: sorted(value, key=canonical_bytes) if isinstance(value, list) else value
            for key, value in {**content, **content.get("meta", {})}.items()
            if key != "meta"
        }
    )


@given(statements())
def test_the_order_of_arrival_does_not_matter_only_the_stamps_do(drawn) -> None:
    made, shuffled = drawn
    assert comparable(play(shuffled)) == comparable(play(made))


@given(statements("A"))
def test_the_newest_statement_about_an_element_is_the_one_that_is_stored(drawn) -> None:
    made, shuffled = drawn
    final = play(shuffled)
    for element in ("gender", "telecom"):
        newest = None
        for at, _, content, deletions, gaps in made:
            weight = (at if element not in gaps else at - 1000) if element in content else at
            if (element in content or element in deletions) and (newest is None or weight > newest[0]):
                newest = (weight, content.get(element))
        assert final.get(element) == (newest[1] if newest else None)


def test_an_older_statement_fills_what_nothing_newer_speaks_of_and_deletes_nothing() -> None:
    new = (2, "A", {"gender": "female"}, set(), set())
    old = (1, "A", {"gender": "male", "birthDate": "1980"}, {"deceased"}, set())
    assert play([new, old]) == {**BARE, "gender": "female", "birthDate": "1980"}
    assert play([(1, "A", {"birthDate": "1980"}, {"gender"}, set()), new]) == play(
        [new, (1, "A", {"birthDate": "1980"}, {"gender"}, set())]
    )


def test_death_without_a_date_confirms_the_date_that_is_known_in_any_order() -> None:
    dated = (1, "A", {"deceasedDateTime": "2020"}, set(), set())
    vague = (2, "B", {"deceasedBoolean": True}, set(), set())
    alive = (3, "A", {"deceasedBoolean": False}, set(), set())
    assert play([dated, vague]) == play([vague, dated]) == {**BARE, "deceasedDateTime": "2020"}
    assert play([dated, vague, alive]) == play([alive, vague, dated]) == {**BARE, "deceasedBoolean": False}
    gone = (3, "A", {}, {"deceased"}, set())
    assert play([dated, vague, gone]) == play([gone, vague, dated]) == BARE


def test_equal_stamps_leave_the_later_arrival() -> None:
    said = admit([], NONE, {**BARE, "gender": "male"}, (), sender="A", stamp=Stamp(5, 10)).said(
        {**BARE, "gender": "male"}
    )
    later = admit(
        said, {**BARE, "gender": "male"}, {**BARE, "gender": "female"}, (), sender="A", stamp=Stamp(5, 11)
    )
    assert later.statement["gender"] == "female"
    again = admit(
        said, {**BARE, "gender": "male"}, {**BARE, "gender": "female"}, (), sender="A", stamp=Stamp(5, 9)
    )
    assert "gender" not in again.statement


def test_a_statement_is_never_from_after_its_receipt() -> None:
    assert Stamp.of(99, 10) == Stamp(10, 10)
    assert Stamp.of(None, 10) == Stamp(10, 10)
    assert Stamp.of(3, 10) == Stamp(3, 10)
    assert gap(Stamp(99, 99)) < Stamp(0, 0)


def test_shared_resources_note_a_repetition_only_when_it_is_an_hour_newer() -> None:
    old, soon, late = [[0, 0, "A", None]], [[1_000_000, 5, "A", None]], [[3_600_000_000, 5, "A", None]]
    assert not is_worth_noting(soon, old, {"resourceType": "Location", "name": "x"})
    assert is_worth_noting(late, old, {"resourceType": "Location", "name": "x"})
    assert is_worth_noting(soon, old, None)


def test_shared_resources_note_who_else_says_the_same_only_when_it_is_an_hour_newer() -> None:
    doctor = {"resourceType": "Practitioner", "active": True, "identifier": [{"value": "1"}]}
    old = [[0, 0, "A", ["identifier"]], [5, 5, "B", ["active", "identifier"]]]
    soon = [[5, 5, "B", ["identifier"]], [9, 9, "A", ["active", "identifier"]]]
    late = [[5, 5, "B", ["identifier"]], [3_600_000_005, 9, "A", ["active", "identifier"]]]
    new = [*old, [9, 9, "C", ["identifier"]]]
    assert not is_worth_noting(soon, old, doctor)
    assert is_worth_noting(late, old, doctor)
    assert is_worth_noting(new, old, doctor), "a sender's own part of a list"


@given(statements(), CONTENT, GAPS, st.sampled_from("ABC"), st.integers(0, 9))
def test_what_is_heard_again_is_noted_as_if_it_were_read_again(steps, content, gaps, sender, at) -> None:
    stored, said = played(steps[1])
    statement, stamp, gaps = {**BARE, **content}, Stamp(at, at), gaps & set(content)
    again = said_again(Heard.of(statement, stored, gaps), said, "Patient", gaps, sender=sender, stamp=stamp)
    news = admit(said, stored, statement, (), sender=sender, stamp=stamp, gaps=gaps)
    if again is None:
        dates_a_death = stored.get("deceasedBoolean") is True and "deceasedDateTime" in content
        is_read = "link" in content or dates_a_death  # older than what was said, and counts all the same
        assert news.statement != statement or is_read, "something newer speaks of a part of it"
    else:
        left_out = statement.keys() - news.statement.keys()
        assert left_out <= ({"deceasedBoolean"} if "deceasedDateTime" in stored else set())
        assert {key: statement[key] for key in statement if key not in left_out} == news.statement
        assert news.said(stored) == again[0]
        later = Stamp(min(again[1], 1 << 60) - 1, at)
        if later > stamp and len(stored) > len(BARE):
            told = admit(said, stored, statement, (), sender=sender, stamp=later, gaps=gaps).said(stored)
            assert not is_worth_noting(told, said, stored)


@given(statements(), CONTENT, st.sampled_from("ABC"), st.integers(0, 9))
def test_a_gap_of_which_something_real_was_said_is_left_out_again(steps, content, sender, at) -> None:
    stored, said = played(steps[1])
    statement, stamp, gaps = {**BARE, "gender": "unknown", **content}, Stamp(at, at), {"gender"}
    heard = Heard.of(statement, stored, gaps, gaps)
    again = said_again(heard, said, "Patient", gaps, sender=sender, stamp=stamp)
    news = admit(said, stored, statement, (), sender=sender, stamp=stamp, gaps=gaps)
    if again is not None:
        assert "gender" in news.left
        assert set(news.left) <= gaps | ({"deceased"} if "deceasedDateTime" in stored else set())
        assert news.said(stored) == again[0]


def test_a_gap_is_known_to_be_left_out_only_while_something_real_stands() -> None:
    statement, gaps, at = {**BARE, "gender": "unknown", "birthDate": "1980"}, {"gender"}, Stamp(9, 9)
    stored = {**BARE, "gender": "male", "birthDate": "1980"}
    heard = Heard.of(statement, stored, gaps, gaps)
    real, filled = [[5, 5, "A", None]], [[*gap(Stamp(5, 5)), "A", ["gender"]], [5, 5, "A", ["birthDate"]]]
    again = said_again(heard, real, "Patient", gaps, sender="B", stamp=at)
    assert again is not None
    assert again[0] == [[5, 5, "A", ["gender"]], [9, 9, "B", ["birthDate"]]]
    assert said_again(heard, filled, "Patient", gaps, sender="B", stamp=at) is None


def test_what_is_heard_is_carried_over_a_change_beside_it_and_not_over_one_of_its_own() -> None:
    said, parts = {**BARE, "birthDate": "1980"}, ({"A": {}, "B": {}}, {"A": {"contact": ["1"]}, "B": {}})
    before = {**BARE, "birthDate": "1980", "gender": "male"}
    heard = Heard.of(said, before, ())
    carried = heard.carried(before, {**before, "contact": [{"gender": "male"}]}, parts)
    assert carried is not None
    assert (carried.stated, carried.present) == (("birthDate",), ("birthDate", "gender", "contact"))
    assert heard.carried(before, {**before, "birthDate": "1981"}, parts) is None
    assert heard.carried(before, {**before, "_birthDate": {"id": "x"}}, parts) is None
    assert not is_apart(before, {**before, "active": False})
    assert not is_apart({**before, "resourceType": "Encounter"}, {**before, "resourceType": "Encounter"})


@given(statements(), CONTENT, CONTENT, st.sampled_from("AB"), st.sampled_from("ABC"))
def test_a_change_of_what_a_statement_does_not_speak_of_leaves_it_without_effect(
    steps, content, change, sender, other
) -> None:
    stored, parts, said = None, {}, {**BARE, **content}
    for _, by, earlier, deletions, _ in steps[0]:
        stored, parts = merge(stored, parts, {**BARE, **earlier}, sorted(deletions), sender=by)
    stored, parts = merge(stored, parts, said, sender=sender)
    assert merge(stored, parts, said, sender=sender) == (stored, parts)
    now, since = merge(stored, parts, {**BARE, **change}, sender=other)
    heard = Heard.of(said, stored, ()).carried(stored, now, (parts, since))
    if is_apart(stored, now) and heard is not None:
        assert merge(now, since, said, sender=sender) == (now, since)
        assert heard == Heard.of(said, now, ())._replace(is_all=heard.is_all)
        assert not heard.is_all or Heard.of(said, now, ()).is_all


def test_what_is_a_patients_is_noted_also_in_a_message_that_names_no_patient(store: Store, do) -> None:
    account = {"resourceType": "Account", "id": "a", "status": "active", "name": "one"}
    account["subject"] = [{"reference": "Patient/p"}]
    for at in (10, 20, 30):
        do(lambda s, at=at: s.statement(account, sender="A", institution="i", stamp=Stamp(at, at)))
    late = {**account, "name": "two"}
    do(lambda s: s.statement(late, sender="B", institution="i", stamp=Stamp(25, 40)))
    assert do(lambda s: s.current("Account", "a"))["name"] == "one"


def test_what_is_said_again_word_for_word_is_noted_as_if_it_were_merged(store: Store, do) -> None:
    indexer = store._shared.indexer
    one = {"resourceType": "Account", "status": "active", "name": "one", "identifier": [{"value": "1"}]}
    said = [("A", one, 20), ("A", one, 30), ("A", one, 10), ("B", one, 25), ("A", {**one, "name": "two"}, 25)]
    sequences = [[said[0], *rest] for rest in product(said, repeat=3)]

    def say(session: WriteSession, step: int, *, is_ready: bool) -> None:
        for number, sequence in enumerate(sequences):
            sender, content, at = sequence[step]
            resource = {**content, "id": f"{is_ready}-{number}", "subject": [{"reference": "Patient/p"}]}
            told = ready(resource, indexer) if is_ready else resource
            session.statement(told, sender=sender, institution="i", patient="p", stamp=Stamp(at, at))

    for step in range(4):
        do(lambda s, step=step: say(s, step, is_ready=True))
        do(lambda s, step=step: say(s, step, is_ready=False))

    def stored(session: WriteSession, id_: str) -> list[Any]:
        state = session._state(("Account", id_))
        content = {name: value for name, value in state.content().items() if name not in ("id", "meta")}
        return [content, state.version, state.parts, state.said]

    for number, sequence in enumerate(sequences):
        merged = do(lambda s, number=number: stored(s, f"False-{number}"))
        assert do(lambda s, number=number: stored(s, f"True-{number}")) == merged, sequence


def test_what_is_said_again_beside_others_is_noted_as_if_it_were_merged(store: Store, do) -> None:
    """What only fills a gap, and what another sender changes beside it."""
    indexer = store._shared.indexer
    whole = {"gender": "male", "birthDate": "1980", "contact": [{"gender": "female"}]}
    part = {"gender": "unknown", "birthDate": "1980", "telecom": [{"value": "1"}]}
    said = [
        ("A", whole, ()),
        ("A", {**whole, "contact": [{"gender": "male"}]}, ()),
        ("B", part, ("gender",)),
        ("B", {**part, "telecom": [{"value": "2"}]}, ("gender",)),
        ("C", {"telecom": [{"value": "1"}], "active": True}, ()),
    ]
    sequences = [[said[first], *rest] for first in (0, 2) for rest in product(said, repeat=4)]
    late = 3
    """The step that is older than the one before."""

    def say(session: WriteSession, step: int, *, is_ready: bool) -> None:
        at = 10 * step - (15 if step == late else 0)
        for number, sequence in enumerate(sequences):
            sender, content, gaps = sequence[step]
            resource = {"resourceType": "Patient", "id": f"{is_ready}-{number}", **content}
            told = ready(resource, indexer) if is_ready else resource
            stamp = Stamp(at, 10 * step)
            session.statement(
                told, sender=sender, institution="i", patient=resource["id"], stamp=stamp, gaps=gaps
            )

    for step in range(5):
        do(lambda s, step=step: say(s, step, is_ready=True))
        do(lambda s, step=step: say(s, step, is_ready=False))

    def stored(session: WriteSession, id_: str) -> list[Any]:
        state = session._state(("Patient", id_))
        content = {name: value for name, value in state.content().items() if name not in ("id", "meta")}
        return [content, state.version, state.parts, state.said]

    for number, sequence in enumerate(sequences):
        merged = do(lambda s, number=number: stored(s, f"False-{number}"))
        assert do(lambda s, number=number: stored(s, f"True-{number}")) == merged, sequence


def test_the_times_survive_in_the_envelope_and_a_restart(settings, keys, clock) -> None:
    def say(at: int, **content):
        return lambda s: s.statement(
            {**BARE, **content}, sender="A", institution="i", patient="p", stamp=Stamp(at, at)
        )

    for at, gender in ((20, "female"), (10, "male"), (30, "female"), (25, "other")):
        with Store.open(settings, keys, clock) as store:
            store.submit(say(at, gender=gender, birthDate=f"19{at}")).result(120)
    with Store.open(settings, keys, clock) as store:
        version = store.reader.read("Patient", "p", true())
        assert loads(store.reader.body(version))["gender"] == "female"
        assert loads(store.reader.body(version))["birthDate"] == "1930"


def test_what_was_deleted_after_a_statement_was_made_stays_deleted(store: Store, do, clock) -> None:
    do(
        lambda s: s.statement(
            {**BARE, "gender": "male"}, sender="A", institution="i", patient="p", stamp=Stamp(1, 1)
        )
    )
    do(lambda s: s.delete("Patient", "p", institution="i"))
    late = do(
        lambda s: s.statement(
            {**BARE, "gender": "other"}, sender="A", institution="i", patient="p", stamp=Stamp(2, 2)
        )
    )
    assert not late.is_changed
    assert do(lambda s: s.current("Patient", "p")) is None
    anew = do(lambda s: s.statement({**BARE, "gender": "other"}, sender="A", institution="i", patient="p"))
    assert anew.is_created


def test_a_result_moved_to_another_patient_does_not_move_back_with_an_older_message(store: Store, do) -> None:
    def say(at: int, patient: str):
        result = {
            "resourceType": "Observation",
            "id": "b",
            "status": "final",
            "code": {"text": "x"},
            "subject": {"reference": f"Patient/{patient}"},
        }
        stamp = Stamp(at, at)
        return do(lambda s: s.statement(result, sender="A", institution="i", patient=patient, stamp=stamp))

    say(10, "wrong")
    assert say(20, "right").is_changed
    assert not say(15, "wrong").is_changed
