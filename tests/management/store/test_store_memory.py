"""What the store keeps in memory is what it says it keeps, also when garbage is collected rarely."""

from __future__ import annotations

import gc

from hdg.management.store import Store
from hdg.management.store.batch import State


def test_states_that_are_let_go_are_gone_without_a_collection(store: Store, do) -> None:
    store._shared.state_limit = 10
    gc.collect()
    before = states()
    gc.disable()
    try:
        for number in range(60):
            resource = {"resourceType": "Patient", "id": f"p{number % 30}", "active": number < 30}
            do(lambda s, resource=resource: s.put(resource, institution="site"))
        assert states() - before <= 2 * 10  # the limit, and what the last group still names
    finally:
        gc.enable()


def states() -> int:
    return sum(isinstance(each, State) for each in gc.get_objects())
