"""What the store keeps in memory is what it says it keeps, also when garbage is collected rarely."""

from __future__ import annotations

import gc

from hdg.management.store import Store
from hdg.management.store.batch import State


def test_states_that_are_let_go_are_gone_without_a_collection(store: Store, do) -> None:
    store._shared.state_bytes = 15_000  # ten states
    gc.collect()
    before = states()
    gc.disable()
    try:
        for number in range(60):
            resource = {"resourceType": "Patient", "id": f"p{number % 30}", "active": number < 30}
            do(lambda s, resource=resource: s.put(resource, institution="site"))
        assert states() - before <= 2 * 10  # the limit, and what the last group still names
        assert 0 < store._shared.held_bytes <= 15_000
    finally:
        gc.enable()


def test_only_the_states_used_last_are_kept_parsed(store: Store, do) -> None:
    store._shared.parsed_limit = 3
    for number in range(12):
        resource = {"resourceType": "Patient", "id": f"p{number % 6}", "active": number < 6}
        do(lambda s, resource=resource: s.put(resource, institution="site"))
        assert sum(state.is_parsed for state in store._shared.states.values()) <= 3
    assert do(lambda s: s.current("Patient", "p0"))["active"] is False
    store._shared.forget()
    assert store._shared.held_bytes == 0
    assert do(lambda s: s.current("Patient", "p0"))["active"] is False


def states() -> int:
    return sum(isinstance(each, State) for each in gc.get_objects())
