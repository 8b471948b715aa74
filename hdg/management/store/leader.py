"""Which clause of a search leads: that whose matches are listed, while the others are tested for each of them.

R4 search.html. The ranks of the clauses tell as a rule which finds the fewest (where.py); where they leave it open, a
look at how many rows there are does (probe.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hdg.management.store.chains import Rows
from hdg.management.store.probe import Fewest

if TYPE_CHECKING:
    from hdg.management.store.where import Where

__all__ = ["leader_of"]


def leader_of(wheres: Sequence[Where], fewest: Fewest | None) -> tuple[Where | None, Rows | None]:
    """The clause that most likely finds the fewest (None: none of them lists its matches); its rows, if made already.

    The rows of all that may lead are made before one is looked for: so what cannot be understood of them is refused
    the same whatever is stored.
    """
    able = sorted((where for where in wheres if where.can_lead()), key=lambda where: where.rank())
    first = able[0] if able else None
    if fewest is None or first is None or first.is_id() or first.is_few():
        return first, None
    if first.clause.kind == "reference":
        return first, None  # of one place or person: few, as a rule; a look at the others costs more
    able = [where for where in able if not where.is_id()]
    if len(able) == 1:
        return first, None
    rows = [where.leading() for where in able]
    back = next((where for where in wheres if where.clause.kind == "has"), None)
    if back is not None:  # tested for each match of what leads, by all that refers to it
        rows = [one if where.clause.links else back.named(one) for where, one in zip(able, rows, strict=True)]
    place = fewest(rows)
    return able[place], None if back is not None or able[place].clause.links else rows[place]
