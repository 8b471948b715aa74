"""What the store keeps in memory is what it says it keeps, also when garbage is collected rarely."""

from __future__ import annotations

import gc

from hdg.management.store import Store
from hdg.management.store.batch import State


def test_states_that_are_let_go_are_gone_without_a_collection(store: Store, do) -> None:
    store._shared.states.limit_bytes = 15_000  # ten states
    gc.collect()
    before = states()
    gc.disable()
    try:
        for number in range(60):
            resource = {"resourceType": "Patient", "id": f"p{number % 30}", "active": number < 30}
            do(lambda s, resource=resource: s.put(resource, institution="site"))
        assert states() - before <= 2 * 10  # the limit, and what the last group still names
        assert 0 < store._shared.states.held_bytes <= 15_000
    finally:
        gc.enable()


def test_only_the_states_used_last_are_kept_parsed(store: Store, do) -> None:
    store._shared.states.parsed_limit = 3
    for number in range(12):
        resource = {"resourceType": "Patient", "id": f"p{number % 6}", "active": number < 6}
        do(lambda s, resource=resource: s.put(resource, institution="site"))
        assert sum(state.is_parsed for state in store._shared.states) <= 3
    assert do(lambda s: s.current("Patient", "p0"))["active"] is False
    store._shared.forget()
    assert store._shared.states.held_bytes == 0
    assert do(lambda s: s.current("Patient", "p0"))["active"] is False


def test_what_was_used_again_stays_in_a_flood_of_what_is_new(store: Store, do) -> None:
    store._shared.states.limit_bytes = 60_000  # forty states, ten of them new
    person = {"resourceType": "Patient", "id": "p1"}
    for active in (True, False):
        do(lambda s, active=active: s.put({**person, "active": active}, institution="site"))
    for number in range(200):
        result = {"resourceType": "Basic", "id": f"r{number}", "code": {"text": "new"}}
        do(lambda s, result=result: s.put(result, institution="site"))
    known = store._shared.states
    assert known.get(("Patient", "p1")) is not None
    assert known.get(("Basic", "r199")) is not None
    assert known.get(("Basic", "r0")) is None
    assert known.held_bytes <= 60_000 // 4 + known.get(("Patient", "p1")).weight


def test_what_is_used_again_is_let_go_when_it_takes_too_much(store: Store, do) -> None:
    store._shared.states.limit_bytes = 15_000
    for number in range(60):
        resource = {"resourceType": "Patient", "id": f"p{number}"}
        for active in (True, False):
            do(
                lambda s, resource=resource, active=active: s.put(
                    {**resource, "active": active}, institution="x"
                )
            )
    known = store._shared.states
    assert 5 < len([*known]) < 15
    assert known.get(("Patient", "p59")) is not None
    assert known.held_bytes == sum(state.weight for state in known) <= 15_000


def states() -> int:
    return sum(isinstance(each, State) for each in gc.get_objects())
