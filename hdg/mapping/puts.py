"""What a row does with the value that it reads, for formats whose tables read trees (elements, data sets).

HL7 v2 plans its segments as a whole (compile.py); here a row stands by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hdg.fhir.definitions import ElementInfo, element_info
from hdg.mapping.actions import Complete, Fire, compile_map, compile_pairs, fire_of
from hdg.mapping.context import Converter
from hdg.mapping.defaults import split_default
from hdg.mapping.library import Library
from hdg.mapping.shape import constant, fresh, types_at
from hdg.mapping.table import Rule
from hdg.mapping.target import Step, parse_target

__all__ = ["Put", "put_of"]


@dataclass(frozen=True, slots=True)
class Put:
    """The compiled target and default of a row. ``fallback`` puts its constant, where it has one."""

    rule: Rule
    steps: Sequence[Step]
    info: ElementInfo | None
    fallback: Fire | None
    _complete: Complete | None
    _library: Library

    def fire(self, convert: Converter) -> Fire:
        """Puts what ``convert`` makes, through the row's map. Raises ValueError."""
        translate = None
        if self.rule.map:
            concepts = self._library.concept_map(self.rule.map)
            if concepts is None:
                raise ValueError(f"there is no concept map {self.rule.map!r}")
            convert, translate = compile_map(self.rule.as_, convert, concepts)
        return fire_of(convert, self.steps, self._complete, translate)


def put_of(rule: Rule, root: str, library: Library) -> Put:
    """``root``: the type that the table builds. Raises ValueError: the target or the default is wrong."""
    steps = parse_target(rule.target)
    types = types_at(root, steps)
    bare, pairs = split_default(rule.default)
    owner = root
    for index, step in enumerate(steps):
        if step.is_list:
            owner = types_at(root, steps[: index + 1])[0]
    is_coded_map = bool(rule.map) and rule.as_ != "code"
    complete = compile_pairs(pairs, owner, library.systems, is_mapped=is_coded_map)
    fallback = None
    if bare is not None:
        value = constant(types[0], bare, library.systems)
        fallback = fire_of(lambda _text, _state: fresh(value), steps, complete, None)
    if not rule.as_ and fallback is None:
        raise ValueError("as is empty and there is no constant")
    holder = types_at(root, steps[:-1])[0] if len(steps) > 1 else root
    return Put(rule, steps, element_info(holder, steps[-1].element), fallback, complete, library)
