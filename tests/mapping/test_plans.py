"""Plans leave out only what would do nothing; a table keeps a bounded number of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hdg.mapping.plans import Plans, Step
from hdg.mapping.when import (
    All,
    AnyOf,
    In,
    Leaf,
    Measure,
    Node,
    Not,
    Readers,
    Valued,
    compile_when,
    parse_when,
    simplified,
)

_NAMES = {"T.1": 1, "T.2": 2, "T.3": 3}
_TEXTS = st.sampled_from(["", "A", "B", "other", "5.2", "A^B"])
_LEAVES: st.SearchStrategy[Node] = st.one_of(
    st.builds(Valued, st.sampled_from(sorted(_NAMES))),
    st.builds(
        In, st.sampled_from(sorted(_NAMES)), st.frozensets(st.sampled_from(["A", "B", ""]), min_size=1)
    ),
    st.builds(
        Measure,
        st.sampled_from(sorted(_NAMES)),
        st.just("length"),
        st.sampled_from(["<", ">", "="]),
        st.integers(0, 4),
    ),
)
_NODES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


def _resolve(operand: str) -> Readers:
    slot = _NAMES[operand]

    def text(view: list[str], context: Any) -> str:
        return view[slot].partition("^")[0] if slot < len(view) else ""

    return Readers(text, lambda v, c: bool(text(v, c)), lambda v, c: 1, slot, slot)


def _fired(plans: Plans, view: list[str]) -> list[str]:
    found: list[str] = []
    for slot, test, run, _ in plans.of(view, None):
        if (raw := view[slot]) and (test is None or test(view, None)):
            run(raw, view, {}, found)
    return found


def _step(number: int, node: Node | None) -> Step:
    def run(raw: str, view: list[str], out: Any, context: list[str]) -> bool:
        context.append(f"{number} {raw}")
        return True

    return Step(number % 4, run, compile_when(node, _resolve) if node else None, node)


@given(
    st.lists(_NODES, min_size=1, max_size=6), st.lists(st.lists(_TEXTS, max_size=3), min_size=1, max_size=4)
)
def test_a_planned_table_fires_what_the_whole_table_fires(nodes: list[Node], views: list[list[str]]) -> None:
    steps = [_step(number, node) for number, node in enumerate(nodes)]
    plans = Plans(steps, 4, _resolve)
    for texts in views * 3:
        view = ["T", *texts]
        whole = [
            f"{number} {view[step.slot]}"
            for number, step in enumerate(steps)
            if step.slot < len(view) and view[step.slot] and step.test and step.test(view, None)
        ]
        assert _fired(plans, view) == whole


@given(_NODES, st.lists(_TEXTS, min_size=3, max_size=3), st.sets(st.sampled_from(sorted(_NAMES))))
def test_what_is_left_of_a_tree_says_what_the_tree_says(node: Node, texts: list[str], told: set[str]) -> None:
    view = ["T", *texts]

    def known(leaf: Leaf) -> bool | None:
        return compile_when(leaf, _resolve)(view, None) if leaf.operand in told else None

    left = simplified(node, known)
    found = left if isinstance(left, bool) else compile_when(left, _resolve)(view, None)
    assert found == compile_when(node, _resolve)(view, None)


def test_a_row_whose_source_is_absent_goes_to_its_default_at_once() -> None:
    def note(text: str) -> Any:
        def run(raw: str, view: list[str], out: Any, context: list[str]) -> bool:
            context.append(text)
            return True

        return run

    plans = Plans([Step(0, note("both"), source=2, absent=note("default"))], 3, _resolve)
    views = (["T", "x"], ["T", "x", "y"])
    assert [_fired(plans, view) for view in views * 2] == [["both"], ["both"], ["default"], ["both"]]


def test_shapes_are_kept_in_a_bounded_number() -> None:
    node = parse_when("T.1 = A and T.1 != B")
    plans = Plans([_step(number, node) for number in range(40)], 40, _resolve)
    for number in range(3000):
        view = ["T", *("x" if number >> bit & 1 else "" for bit in range(12))]
        plans.of(view, None)
        plans.of(view, None)
    assert len(plans._by_shape) <= 1000
