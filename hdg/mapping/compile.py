"""Rules to closures: one compiled program per table, built once; nothing is looked up by a formatted string
later.

A table reads a *view*: a list of texts whose slot 0 is always valued (the whole, or the segment's name) and
whose further slots are its elements. A step is ``(slot, run)``; it fires when its slot holds text. A second,
tracing compilation of the same tables records what each rule made, so that the hot path pays nothing for
coverage and explain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from threading import RLock
from typing import Any, Final

from hdg.errors import TableError
from hdg.fhir.definitions import element_info
from hdg.mapping.actions import (
    Assign,
    Complete,
    Fire,
    assign_of,
    compile_map,
    compile_pairs,
    constant_fire,
    fills_gap,
    finished,
    fire_of,
    gap_filling,
)
from hdg.mapping.blocks import Extent
from hdg.mapping.context import Context, Converter, Facts, JsonObject, Unfit
from hdg.mapping.defaults import split_default
from hdg.mapping.forms import Parts, formed
from hdg.mapping.grammar import Grammar, Slot
from hdg.mapping.guards import Answers, field_guard, guarded, part_guard
from hdg.mapping.library import Library
from hdg.mapping.lint import REFERENCE
from hdg.mapping.plans import Plans, Step
from hdg.mapping.reuse import recalled, referred, remembered
from hdg.mapping.runs import Quick, Run, defaulted, direct, kept, nested, top
from hdg.mapping.shape import constant, fresh, result_type, types_at
from hdg.mapping.table import Rule, Table
from hdg.mapping.target import Step as TargetStep
from hdg.mapping.target import parse_target
from hdg.mapping.tracing import nested_traced, skipped, top_traced, traced_default, watched
from hdg.mapping.when import Node, Test, Valued, compile_when, leaves, operands, parse_when

_CODED: Final = ("CodeableConcept", "Coding")
_DEEPEST: Final = 40  # datatype tables that open one another
Keep = tuple[str, Converter, Assign, str, bool]
"""What ``runs.kept`` needs: kind, converter, assign, the plain element; and whether the target is a list alone."""


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled table. ``type`` is the R4 type (or backbone path) that it builds."""

    name: str
    type: str
    plans: Plans

    def fill(self, view: list[str], out: JsonObject, context: Any) -> None:
        """Run every step that has text. ``out`` is changed in place."""
        for slot, test, run, quick in self.plans.of(view, context):
            if (raw := view[slot]) and (test is None or test(view, context)):
                if quick is not None and quick.is_put(raw, view, out, context):
                    continue
                run(raw, view, out, context)


class Compiler:
    """Compiles the tables of one Library; keeps what it compiled."""

    def __init__(
        self, library: Library, grammar: Grammar, *, is_tracing: bool = False, answers: Answers | None = None
    ) -> None:
        """``answers``: which rows say what becomes of their source, for guards (guards.py); None: no guards."""
        self._answers = answers
        self.library = library
        self.grammar = grammar
        self.is_tracing = is_tracing
        self._segments: dict[str, Program] = {}
        self._datatypes: dict[tuple[str, int], Converter] = {}
        self._forgetful: dict[Converter, Converter] = {}
        """Converters that remember what they made, and the same without."""
        self._pure: dict[tuple[str, int], bool] = {}
        self._open: set[tuple[str, int]] = set()
        """Datatype tables that are being compiled; owned by whoever holds the lock."""
        self._lock = RLock()

    def segment(self, name: str) -> Program:
        """The program of a segment table. Raises TableError."""
        with self._lock:
            program = self._segments.get(name)
            if program is None:
                table = self._table("segments", name)
                program = self._segments[name] = self._program(table, 0)
            return program

    def _table(self, kind: str, name: str) -> Table:
        table = self.library.table(kind, name)
        if table is None:
            raise TableError(f"{kind}/{name}.csv", 1, "there is no such table")
        return table

    def _program(self, table: Table, depth: int) -> Program:
        try:
            kind = result_type(table.result)
        except ValueError as error:
            raise TableError(table.file, 1, str(error)) from error
        steps = []
        for rule in table.rules:
            try:
                step = self._step(rule, table, kind, depth)
            except (ValueError, KeyError) as error:
                raise rule.error(str(error)) from error
            if step is not None:
                if depth == 0 and not self.is_tracing:
                    step = step._replace(extent=cache(partial(self._extent, rule, table, kind)))
                steps.append(step)
        steps.extend(self._guards(table, depth))
        slots = [self.grammar.slot(rule.source, table, depth).number for rule in table.rules]
        resolve = partial(self.grammar.readers, table=table, depth=depth)
        is_whole = depth == 0 and not self.is_tracing and table.source not in self.grammar.loose
        between = self.grammar.between if is_whole else ""
        plans = Plans(steps, max(slots, default=0) + 1, resolve, table.file, between)
        return Program(table.name, kind, plans)

    def _guards(self, table: Table, depth: int) -> Iterator[Step]:
        if self._answers is None:
            return
        slot_of = lambda rule: self.grammar.slot(rule.source, table, depth).number  # noqa: E731  # as short as that
        for number, node in guarded(table, slot_of, self._answers):
            run = part_guard(number, self.grammar.null) if depth else field_guard(number)
            yield Step(number, run, self._test(node, table, depth), node)

    def datatype(self, name: str, depth: int) -> Converter:
        """The converter that a datatype table is. Raises TableError."""
        found = self._datatypes.get((name, depth))
        return found if found is not None else self._compile_datatype(name, depth)

    def _compile_datatype(self, name: str, depth: int) -> Converter:
        key = (name, depth)
        with self._lock:
            if key in self._datatypes:  # another thread was faster
                return self._datatypes[key]
            if key in self._open:
                return _unfinished(name)
            if len(self._open) >= _DEEPEST:
                raise TableError(f"datatypes/{name}.csv", 1, "tables open one another too deeply")
            self._open.add(key)
            try:
                table = self._table("datatypes", name)
                program = self._program(table, depth)
            finally:
                self._open.discard(key)
            found = _builder(program, self.grammar.opener(depth))
            if program.type in _CODED and not self.is_tracing and self._is_pure(table):
                forgetful, found = found, remembered(f"{name} {depth}", found)
                self._forgetful[found] = forgetful
            elif not self.is_tracing and depth == 1 and self._is_pure(table):
                parts = self._parts(table)
                found = found if parts is None else formed(f"{name} form", found, parts)
            self._datatypes[key] = found
            return found

    def _parts(self, table: Table) -> Parts | None:
        """The free parts of a pure datatype table; None when it has none."""
        bound: set[int] = set()
        strings: set[int] = set()
        composing: list[Converter] = []
        for rule in table.rules:
            if not rule.target:
                continue
            number = self.grammar.slot(rule.source, table, 1).number
            named = self.grammar.converters.get(rule.as_)
            if number:
                is_string = rule.as_ == "string" and not rule.map and not rule.default
                (strings if is_string else bound).add(number)
            elif named is not None and named.is_composing:
                composing.append(named.convert)
            elif named is not None and named.reads is not None:
                bound.update(named.reads)
            elif rule.as_:
                return None
            for leaf in leaves(parse_when(rule.when)) if rule.when else ():
                if not isinstance(leaf, Valued):
                    bound.add(self.grammar.readers(leaf.operand, table, 1).field)
        free = tuple(sorted(strings - bound))
        if not free or 0 in bound or len(composing) > 1:
            return None
        separator, *unclean = self.grammar.marks
        return Parts(separator, free, composing[0] if composing else None, unclean, self.grammar.null)

    def _is_pure(self, table: Table, room: int = _DEEPEST) -> bool:
        """Whether what a table makes of a text depends on that text and its sender only.

        A table that contains itself is not: only so many are looked into, ``room``.
        """
        key = (table.file, room)
        found = self._pure.get(key)
        if found is None:
            found = self._pure[key] = room > 0 and self._are_pure(table, room)
        return found

    def _are_pure(self, table: Table, room: int) -> bool:
        for rule in table.rules:
            if rule.target and rule.as_ and not self._is_pure_as(rule.as_, room - 1):
                return False
            if rule.when and not all(
                operand.partition(".")[0] == table.source for operand in operands(parse_when(rule.when))
            ):
                return False
        return True

    def _is_pure_as(self, as_: str, room: int = _DEEPEST) -> bool:
        if as_ in self.grammar.primitives:
            return True
        named = self.grammar.converters.get(as_)
        if named is not None:
            return named.is_pure
        return not REFERENCE.fullmatch(as_) and self._is_pure(self._table("datatypes", as_), room)

    def _step(self, rule: Rule, table: Table, root: str, depth: int) -> Step | None:
        slot = self.grammar.slot(rule.source, table, depth)
        node = parse_when(rule.when) if rule.when else None
        test = self._test(node, table, depth)
        if not rule.target:
            return Step(slot.number, skipped(rule, slot, is_top=depth == 0)) if self.is_tracing else None
        if rule.target == "id":
            return Step(slot.number, self._identity(rule, depth), test, node)
        named = self.grammar.converters.get(rule.as_)
        if named is not None and named.takes == "field":
            slot = slot._replace(pick=None, key="field", single=None, is_first=False)
        fire, fallback, keep = self._fire(rule, root, slot.depth)
        if depth == 0 and fallback is not None and fills_gap(rule):
            fallback = gap_filling(rule.target, fallback)
        if self.is_tracing and fallback is not None:
            fallback = traced_default(rule, fallback)
        element = rule.target.partition(".")[0].partition("[")[0]
        if rule.target.startswith(f"{element}[x]"):
            element += "[x]"
        if fire is None:
            return Step(0, constant_fire(fallback), test, node)
        run = self._run(rule, slot, fire, element, is_top=depth == 0)
        number = slot.number
        if slot.is_first and self._is_direct(rule):
            run = self._direct(rule, root, run)
        quick: Quick | None = None
        if keep is not None and depth == 0 and number and not self.is_tracing:
            (name, convert, assign, plain, is_list), is_fleeting = keep, self._is_fleeting(rule)
            forgetful = None if is_fleeting else self._forgetful.get(convert)
            kind, beside = f"{slot.key} {name}", named.beside if named is not None else ()
            null = self.grammar.null
            run = kept(
                *(slot, kind, forgetful or convert, assign, plain, run, null, beside),
                is_fleeting=is_fleeting,
                is_coded=forgetful is not None,
            )
            if plain or is_list or not self._begins_items(rule):
                quick = Quick(
                    *(kind, plain or (element if is_list else ""), assign, beside),
                    is_list=is_list,
                    is_fleeting=is_fleeting,
                    has_default=fallback is not None,
                )
        if fallback is not None:
            run = defaulted(number, run, fallback)
            absent = constant_fire(fallback) if number else None
            return Step(0, run, test, node, number, absent, quick=quick)
        return Step(number, run, test, node, quick=quick)

    def _run(self, rule: Rule, slot: Slot, fire: Fire, element: str, *, is_top: bool) -> Run:
        null = self.grammar.null
        if is_top and self.is_tracing:
            return top_traced(rule, slot, fire, null, element)
        if is_top:
            return top(slot, fire, null, element)
        if self.is_tracing:
            return nested_traced(rule, slot, fire, null)
        return nested(slot, fire, null)

    def _extent(self, rule: Rule, table: Table, root: str) -> Extent:
        """What a row reads and writes, without what its ``when`` reads."""
        first, *inner = parse_target(rule.target)
        names = [first.element]
        # Blocks find labelled items in lists of the resource itself, not further in.
        is_inside = any(step.kind == "label" for step in inner)
        is_open = first.kind == "choice" or rule.target == "id" or is_inside
        if not any(step.is_list for step in (first, *inner)):
            for pair in split_default(rule.default)[1]:
                start, *rest = parse_target(pair.path)
                info = None if rest else element_info(root, start.element)
                is_open = is_open or (info is not None and info.is_choice)  # looks for the other types too
                names.append(start.element)
        bare = [name.removeprefix("_") for name in names]
        elements = frozenset([*bare, *(f"_{name}" for name in bare)])
        is_reference = REFERENCE.fullmatch(rule.as_) is not None
        if is_open or self._is_fleeting(rule):
            return Extent(None, elements)
        named = self.grammar.converters.get(rule.as_)
        beside = named.beside if named is not None else ()
        is_repeatable = not rule.as_ or is_reference or beside or (named is not None and named.is_filling)
        if not is_repeatable and not self._is_pure_as(rule.as_):
            return Extent(None, elements)
        slot = self.grammar.slot(rule.source, table, 0)
        slots = (slot.number, *beside)
        if any(f"{table.source}-{one}" in self.grammar.apart for one in slots):
            return Extent(None, elements)
        return Extent(slots, elements, slot.separator if is_reference else "")

    def _is_fleeting(self, rule: Rule) -> bool:
        return rule.source.partition(".")[0].partition("[")[0] in self.grammar.fleeting

    def _is_direct(self, rule: Rule) -> bool:
        """Whether a row puts letters and digits where its target says, as often as it is asked to."""
        is_plain = rule.as_ in self.grammar.verbatim and not rule.map and not self.is_tracing
        return is_plain and not self._begins_items(rule)

    def _begins_items(self, rule: Rule) -> bool:
        """Whether a row begins an item on the way to where it puts its value: a second attempt begins another."""
        return any(step.kind in ("new", "new-url") for step in parse_target(rule.target)[:-1])

    def _direct(self, rule: Rule, root: str, otherwise: Run) -> Run:
        steps = parse_target(rule.target)
        complete = self._pairs(rule, root, steps)
        is_alone = complete is None and len(steps) == 1 and steps[0].kind == "plain"
        return direct(assign_of(steps, complete, None), steps[0].element if is_alone else "", otherwise)

    def _pairs(self, rule: Rule, root: str, steps: Sequence[TargetStep]) -> Complete | None:
        """What the row's default pairs complete: the last item of the target, or the root."""
        owner = root
        for index, step in enumerate(steps):
            if step.is_list:
                owner = types_at(root, steps[: index + 1])[0]
        is_coded_map = bool(rule.map) and rule.as_ != "code"
        pairs = split_default(rule.default)[1]
        return compile_pairs(pairs, owner, self.library.systems, is_mapped=is_coded_map)

    def _test(self, node: Node | None, table: Table, depth: int) -> Test | None:
        if node is None:
            return None
        return compile_when(node, lambda operand: self.grammar.readers(operand, table, depth))

    def _fire(self, rule: Rule, root: str, depth: int) -> tuple[Fire | None, Fire | None, Keep | None]:
        """What happens to one text of the source, what happens when there is none, how to remember it."""
        steps = parse_target(rule.target)
        types = types_at(root, steps)
        bare, _ = split_default(rule.default)
        complete = self._pairs(rule, root, steps)
        fallback: Fire | None = None
        if bare is not None:
            value = constant(types[0], bare, self.library.systems)
            fallback = fire_of(lambda text, context: fresh(value), steps, complete, None)
        if not rule.as_:
            return None, fallback, None
        fire, keep = self._converting(rule, depth, steps, complete)
        return fire, fallback, keep

    def _converting(
        self, rule: Rule, depth: int, steps: Sequence[TargetStep], complete: Complete | None
    ) -> tuple[Fire, Keep | None]:
        convert = self._converter(rule.as_, depth)
        if self.is_tracing:
            convert = watched(convert)
        translate = None
        if rule.map:
            concepts = self.library.concept_map(rule.map)
            if concepts is None:
                raise ValueError(f"there is no concept map {rule.map!r}")
            convert, translate = compile_map(rule.as_, convert, concepts)
        is_item = steps[-1].kind == "new"
        kind = f"{rule.as_} {depth}"
        if rule.map or (is_item and complete):
            kind = f"{rule.file}:{rule.line}"
        if (is_item or complete is None) and (complete or translate):
            # Pairs and map concern the value alone: finish it before it is put, so that equal items show.
            convert, complete, translate = finished(convert, complete, translate), None, None
        if rule.map and not self.is_tracing and (is_item or complete is None) and self._is_pure_as(rule.as_):
            forgetful, convert = convert, remembered(f"{rule.file}:{rule.line}", convert)
            self._forgetful[convert] = self._forgetful.get(forgetful, forgetful)
        fire = fire_of(convert, steps, complete, translate)
        if translate is not None or not self._is_kept(rule):
            return fire, None
        is_alone = complete is None and len(steps) == 1
        plain = steps[0].element if is_alone and steps[0].kind == "plain" else ""
        assign = assign_of(steps, complete, None)
        return fire, (kind, convert, assign, plain, is_alone and is_item)

    def _is_kept(self, rule: Rule) -> bool:
        """Whether what a row's text becomes is worth remembering, and depends on text and sender alone."""
        if rule.as_ in self.grammar.primitives and not rule.map:
            is_again = self._is_fleeting(rule) and rule.source.partition("-")[0] in self.grammar.loose
            return rule.as_ == "date" or (rule.as_ == "dateTime" and is_again)
        named = self.grammar.converters.get(rule.as_)
        return self._is_pure_as(rule.as_) or (named is not None and bool(named.beside))

    def _converter(self, as_: str, depth: int) -> Converter:
        primitive = self.grammar.primitives.get(as_)
        if primitive is not None:
            return primitive
        named = self.grammar.converters.get(as_)
        if named is not None:
            return named.convert
        reference = REFERENCE.fullmatch(as_)
        if reference is not None:
            return self._reference(reference[1], depth)
        return self.datatype(as_, depth)

    def _reference(self, name: str, depth: int) -> Converter:
        build = self.datatype(name, depth)
        kind = result_type(name.partition(".")[2])

        def refer(text: Any, context: Context) -> JsonObject | None:
            memo = context.memo
            if memo is None:  # tracing: every text is read
                made = referred(build, kind, text, context)
                return None if made is None else made.reference
            key = (name, text)
            known = memo.get(key)
            if known is None:
                mark = len(context.problems)
                made = recalled(build, kind, key, context)
                if made is None:
                    return None
                memo[key] = made, tuple(problem.copy() for problem in context.problems[mark:])
            else:
                made, problems = known
                if problems:  # each place that has the text has its problems
                    context.problems.extend(problem.copy() for problem in problems)
            context.taken.append(made)
            return made.reference.copy()

        return refer

    def _identity(self, rule: Rule, depth: int) -> Run:
        named = self.grammar.converters.get(rule.as_)
        if named is None:
            raise ValueError(f"there is no converter {rule.as_!r}")
        identify: Callable[[str, Any], Facts] = named.convert

        def run(raw: str, view: list[str], out: JsonObject, context: Context) -> bool:
            context.facts = identify(raw, context)
            if depth == 0 and context.problems:
                context.report(0, 1)
            return True

        return run


def _builder(program: Program, open_view: Callable[[str], list[str]]) -> Converter:
    """A datatype table as a converter."""
    plan_of, limit = program.plans.of, program.plans.limit

    def build(text: Any, context: Context) -> JsonObject | None:
        view = open_view(text)
        if len(view) > limit and any(part.strip('^&" ') for part in view[limit:]):
            text = "parts that this datatype does not have were left out"
            context.problem(text, code="incomplete", severity="information")
        out: JsonObject = {}
        outer = context.labels
        context.labels = {}
        for slot, test, run, _ in plan_of(view, context):
            if (raw := view[slot]) and (test is None or test(view, context)):
                run(raw, view, out, context)
        context.labels = outer
        return out or None

    return build


def _unfinished(name: str) -> Converter:
    def fail(text: str, context: Any) -> Any:
        raise Unfit(f"the table {name} contains itself")

    return fail


__all__ = ["Compiler", "Program"]
