"""Which steps of a table a view can fire, worked out once per shape of view.

The shape is which slots hold text, and which literal of the table's ``when`` cells each compared source has.
Messages of one feed have few shapes; a plan for one holds the steps that can fire and, of their ``when``,
only what the shape leaves open. A plan is made when its shape comes a second time: until then all steps run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Final, NamedTuple

from hdg.mapping.blocks import Extent, Row, fused
from hdg.mapping.runs import Quick, Run
from hdg.mapping.when import In, Leaf, Node, Readers, Test, Valued, compile_when, leaves, simplified

_SHAPES_MAX: Final = 1000
"""Shapes that one table keeps; a sender can make as many as it likes."""
Firing = tuple[int, Test | None, Run, Quick | None]
"""Slot, what is left to be tested (None: nothing), what to do with the slot's text, and what may do instead (None:
nothing).
"""


class Step(NamedTuple):
    """One row, compiled. It fires when its slot holds text and its test is true."""

    slot: int
    run: Run
    test: Test | None = None
    """The row's ``when``; None: always."""
    node: Node | None = None
    """The tree of ``test``."""
    source: int = 0
    """Of a row with a default: the slot whose text it reads; 0 for others."""
    absent: Run | None = None
    """What ``run`` comes to when ``source`` is empty."""
    extent: Callable[[], Extent] | None = None
    """What it reads and writes, to be asked when a plan is made; None: it is in no block."""
    quick: Quick | None = None
    """What may do instead of ``run`` when ``source``, or else ``slot``, holds text."""


_Told = tuple[int, frozenset[str], Callable[[str], bool] | None, Callable[[Any, Any], str]]
"""A source that ``when`` compares: its slot (0: it is the message's), the literals, what says that the slot's
text is the source's own (None: it never is), and its reader.
"""


class Plans:
    """The steps of a table, and for each shape of view those that can fire."""

    __slots__ = (
        "_between",
        "_by_shape",
        "_by_size",
        "_name",
        "_numbers",
        "_operands",
        "_readers",
        "_steps",
        "_tests",
        "_told",
        "limit",
    )

    def __init__(
        self,
        steps: Sequence[Step],
        limit: int,
        resolve: Callable[[str], Readers],
        name: str = "",
        between: str = "",
    ) -> None:
        """``name``: the table; ``between``: a text that no slot holds, or '' where nothing makes blocks."""
        self._steps = tuple(steps)
        self._name, self._between, self._numbers = name, between, count()
        found = [leaf for step in steps if step.node is not None for leaf in leaves(step.node)]
        self._readers: Mapping[str, Readers] = {leaf.operand: resolve(leaf.operand) for leaf in found}
        self.limit = max([limit, *(readers.field + 1 for readers in self._readers.values())])
        """The size of a view that has all the table's places; what lies beyond, neither a row nor a test reads."""
        self._operands = _compared_often(found, self._readers)
        self._told: tuple[_Told, ...] = tuple(_told(name, found, self._readers) for name in self._operands)
        self._tests: dict[Node, Test] = {}
        self._by_size: dict[int, tuple[Firing, ...]] = {}
        self._by_shape: dict[Any, tuple[Firing, ...] | None] = {}

    def within(self, size: int) -> tuple[Firing, ...]:
        """Steps whose slot a view of that size has."""
        size = min(size, self.limit)
        found = self._by_size.get(size)
        if found is None:
            found = tuple((step.slot, step.test, step.run, None) for step in self._steps if step.slot < size)
            self._by_size[size] = found
        return found

    def of(self, view: list[str], context: Any) -> tuple[Firing, ...]:
        """The steps for a view, in the table's order. Those left out would do nothing."""
        size = len(view)
        bits = 1
        for number in range(min(size, self.limit)):  # one bit a slot, after one that tells the size
            bits += bits
            if view[number]:
                bits += 1
        shape: Any = bits
        if self._told:
            marks: list[Any] = [bits]
            for field, literals, is_own, text in self._told:
                if not field:
                    found = text(view, context)
                elif field >= size or not (found := view[field]):
                    continue
                elif is_own is None or not (found.isalnum() or is_own(found)):
                    found = text(view, context)
                marks.append(found if found in literals else None)
            shape = tuple(marks)
        plan = self._by_shape.get(shape)
        return plan if plan is not None else self._new(shape, view)

    def _new(self, shape: Any, view: list[str]) -> tuple[Firing, ...]:
        if shape in self._by_shape:
            _, *marks = shape if self._told else (shape,)
            valued = tuple(map(bool, view[: self.limit]))
            plan = self._by_shape[shape] = self._made(valued, marks)
            return plan
        if len(self._by_shape) >= _SHAPES_MAX:
            self._by_shape.clear()
        self._by_shape[shape] = None
        return self.within(len(view))

    def _made(self, valued: tuple[bool, ...], marks: Sequence[str | None]) -> tuple[Firing, ...]:
        size = len(valued)
        rest = iter(marks)
        told = {
            operand: next(rest)
            for operand, (field, *_) in zip(self._operands, self._told, strict=True)
            if not field or (field < size and valued[field])
        }

        def known(leaf: Leaf) -> bool | None:
            field = self._readers[leaf.operand].field
            if field and (field >= size or not valued[field]):
                return of_absent(leaf)
            if isinstance(leaf, In) and leaf.operand in told:
                return told[leaf.operand] in leaf.literals
            return None

        plan: list[Row] = []
        for step in self._steps:
            if step.slot >= size or not valued[step.slot]:
                continue
            node = True if step.node is None else simplified(step.node, known)
            if node is False:
                continue
            slot, run, quick = step.slot, step.run, step.quick
            if step.absent is not None:
                if step.source < size and valued[step.source]:
                    slot = step.source
                else:
                    run, quick = step.absent, None
            firing = (slot, None if node is True else self._test(node), run, quick)
            extent = self._extent(step, node)
            if extent.slots:
                there = [slot for slot in extent.slots if 0 < slot < size and valued[slot]]
                extent = extent._replace(slots=tuple(there))
            plan.append(Row(firing, extent, step.source or step.slot))
        if not self._between:
            return tuple(row.firing for row in plan)
        return fused(plan, self._name, self._between, self._numbers)

    def _extent(self, step: Step, node: Node | bool) -> Extent:
        """What a step with what is left of its test reads and writes."""
        if step.extent is None:
            return Extent(None, frozenset())
        extent = step.extent()
        if extent.slots is None or isinstance(node, bool):
            return extent
        fields = [self._readers[leaf.operand].field for leaf in leaves(node)]
        return extent._replace(slots=(*extent.slots, *fields) if all(fields) else None)

    def _test(self, node: Node) -> Test:
        found = self._tests.get(node)
        if found is None:
            found = self._tests[node] = compile_when(node, self._readers.__getitem__)
        return found


def _compared_often(found: Sequence[Leaf], readers: Mapping[str, Readers]) -> tuple[str, ...]:
    """Sources that several tests compare and whose text is at hand: in the view itself, or the message's."""
    count = Counter(leaf.operand for leaf in found if isinstance(leaf, In))
    return tuple(
        operand
        for operand, times in count.items()
        if times > 1 and (readers[operand].field or readers[operand].is_constant)
    )


def _told(operand: str, found: Sequence[Leaf], readers: Mapping[str, Readers]) -> _Told:
    literals = [leaf.literals for leaf in found if isinstance(leaf, In) and leaf.operand == operand]
    reader = readers[operand]
    return reader.field, frozenset().union(*literals), reader.is_own if reader.slot else None, reader.text


def of_absent(leaf: Leaf) -> bool:
    """What a test says of a source whose slot is empty."""
    if isinstance(leaf, Valued):
        return False
    return "" in leaf.literals if isinstance(leaf, In) else leaf.holds(0)
