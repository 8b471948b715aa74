"""The keys of many patients are looked up at once; what is sealed with them is the same as one by one."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.errors import VaultError
from hdg.management.store import Store

PATIENTS = [f"p{number}" for number in range(60)]


def sealed(session: Any, patients: list[str]) -> list[tuple[str, bytes]]:
    found = [session.seal(b"x", f"row/{one}", patient=one, institution="s") for one in patients]
    return [(code, data) for code, _, data in found]


def forget(store: Store) -> None:
    """As if other patients had been looked at in numbers since."""
    shared = store._groups._shared if hasattr(store, "_groups") else store._shared
    shared.owners.clear()
    for code in list(shared.keks._open):
        shared.keks.forget(code)


@pytest.fixture
def filled(store: Store) -> Store:
    store.submit(lambda session: [session.patient_code(one) for one in PATIENTS[:50]]).result(120)
    store.submit(lambda session: session.put({"resourceType": "Basic", "id": "b"}, institution="s")).result(
        20
    )
    forget(store)
    return store


def test_many_are_one_question_and_the_same_keys(filled: Store) -> None:
    asked: list[str] = []

    def work(session: Any) -> tuple[list[Any], list[Any], int]:
        cursor = session._cursor

        class Listening:
            def execute(self, sql: str, *values: Any) -> Any:
                asked.append(sql)
                return cursor.execute(sql, *values)

            def __getattr__(self, name: str) -> Any:
                return getattr(cursor, name)

        session._own_cursor = Listening()
        session.know_patients([*PATIENTS, *PATIENTS])
        questions = len(asked)
        found = sealed(session, PATIENTS)
        session.know_patients(PATIENTS)
        assert len(asked) == questions
        return (
            found,
            [
                session.open_row(code, data, f"row/{one}")
                for one, (code, data) in zip(PATIENTS, found, strict=True)
            ],
            questions,
        )

    found, opened, questions = filled.submit(work).result(120)
    assert questions <= 3
    assert opened == [b"x"] * len(PATIENTS)
    codes = [code for code, _ in found]
    forget(filled)
    alone = filled.submit(lambda session: [session.patient_code(one) for one in PATIENTS]).result(120)
    assert alone == codes
    assert len(set(codes)) == len(PATIENTS)


def test_a_destroyed_key_is_refused_and_only_that(filled: Store) -> None:
    def destroy(session: Any) -> None:
        session.change_later("UPDATE owner_key SET wrapped_kek = NULL WHERE owner = ?", ("p3",))

    filled.submit(destroy).result(120)
    forget(filled)

    def work(session: Any) -> list[bool]:
        session.know_patients(PATIENTS[:10])
        refused = []
        for one in PATIENTS[:10]:
            try:
                session.seal(b"x", "k", patient=one, institution="s")
                refused.append(False)
            except VaultError:
                refused.append(True)
        return refused

    assert filled.submit(work).result(120) == [one == "p3" for one in PATIENTS[:10]]


def test_what_a_work_that_fails_has_made_is_made_again(filled: Store) -> None:
    new = ["n1", "n2", "n3"]

    def fails(session: Any) -> None:
        session.know_patients(new)
        sealed(session, new)
        raise ValueError("no")

    def works(session: Any) -> list[str]:
        session.know_patients(new)
        return [code for code, _ in sealed(session, new)]

    first, second = filled.submit(fails), filled.submit(works)
    with pytest.raises(ValueError, match="no"):
        first.result(120)
    codes = second.result(120)
    forget(filled)
    assert filled.submit(works).result(120) == codes
    assert all(filled.reader._kek(code) for code in codes)
