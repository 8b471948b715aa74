"""What one text of a source leads to: convert it, translate it, put it, complete it with the row's default
pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hdg.fhir.definitions import element_info
from hdg.mapping.context import (
    Conflict,
    Context,
    Converter,
    JsonObject,
    Problem,
    Several,
    Unfit,
    is_same,
)
from hdg.mapping.defaults import Pair, split_default
from hdg.mapping.shape import constant, fresh, types_at
from hdg.mapping.table import Rule
from hdg.mapping.target import Step, compile_target, parse_target
from hdg.terminology.concepts import ConceptMap
from hdg.terminology.systems import Systems

Fire = Callable[[Any, JsonObject, Any], bool]
"""``(text, root, context)``; True when something was put."""
Assign = Callable[[JsonObject, Any, Any], Any]
"""``(root, value, context)``: puts a value and completes what is there."""
Complete = Callable[[JsonObject, Any], None]
"""``(item, context)``; the context is None for an item that nobody else holds: all of it may be changed."""


def compile_pairs(pairs: Sequence[Pair], owner: str, systems: Systems, *, is_mapped: bool) -> Complete | None:
    """Sets each pair's path where nothing is set; paths are relative to an item of type ``owner``.

    In a row with a map the translated coding will stand first, so ``coding[1]`` there is the first source
    coding.
    """
    if not pairs:
        return None
    setters = []
    for pair in pairs:
        steps = parse_target(pair.path)
        if is_mapped:
            steps = tuple(_before_translation(step) for step in steps)
        value = constant(types_at(owner, steps)[0], pair.value, systems)
        setters.append(_setter(steps, value, owner))
    fixed = tuple(setters)
    if len(fixed) == 1:
        return fixed[0]

    def complete(item: JsonObject, context: Any) -> None:
        for setter in fixed:
            setter(item, context)

    return complete


def _before_translation(step: Step) -> Step:
    if step.kind == "index" and step.element == "coding" and step.key != "0":
        return Step(step.element, "index", str(int(step.key) - 1))
    return step


def _setter(steps: Sequence[Step], value: Any, owner: str) -> Complete:
    *way, last = steps
    name, shadow, is_new = last.element, f"_{last.element}", last.kind == "new"
    enters = tuple(_into(step) for step in way)
    is_shared = not isinstance(value, list)
    info = element_info(owner, name) if not way else None
    rival = f"{name[: -len(info.type)]}" if info is not None and info.is_choice else ""

    def complete(item: JsonObject, context: Any) -> None:
        node = item
        for enter in enters:
            inner = enter(node, context)
            if inner is None:
                return  # only existing items of a list are completed
            node = inner
        if is_new:
            items = node.setdefault(name, [])
            if value not in items:
                items.append(fresh(value))
        elif name not in node and shadow not in node and not (rival and _has_choice(node, rival)):
            # Where values are remembered, whoever enters an object copies it first; a list nobody copies.
            is_kept = is_shared and context is not None and context.values is not None
            node[name] = value if is_kept else fresh(value)

    return complete


def _into(step: Step) -> Callable[[Any, Any], JsonObject | None]:
    """Goes into an element of an item; None when there is no such list item."""
    name = step.element
    if step.kind == "plain":
        return lambda node, context: _own(node, name, node.setdefault(name, {}), context)
    if step.kind == "index":
        index = int(step.key)

        def indexed(node: Any, context: Any) -> JsonObject | None:
            items = node.get(name)
            return _own(items, index, items[index], context) if items and index < len(items) else None

        return indexed
    url = step.key

    def item(node: Any, context: Any) -> JsonObject:
        items: list[JsonObject] = node.setdefault(name, [])
        for index, held in enumerate(items):
            if url and held.get("url") == url:
                return _own(items, index, held, context)
        items.append({"url": url} if url else {})
        return _own(items, len(items) - 1, items[-1], context)

    return item


def _own(holder: Any, key: Any, item: Any, context: Context | None) -> JsonObject:
    """``item`` as one that may be changed."""
    found: JsonObject = item if context is None else context.enter(holder, key, item)
    return found


def _has_choice(node: JsonObject, stem: str) -> bool:
    return any(key.startswith(stem) and key[len(stem) : len(stem) + 1].isupper() for key in node)


def finished(convert: Converter, complete: Complete | None, translate: Any) -> Converter:
    """A converter whose values are completed by pairs and translated by a map."""

    def finish(text: Any, context: Context) -> Any:
        value = convert(text, context)
        if type(value) is Several:
            for single in value:
                if complete is not None:
                    complete(single, None)
                if translate is not None:
                    translate(single, context)
        elif value is not None:
            if complete is not None:
                complete(value, None)
            if translate is not None:
                translate(value, context)
        return value

    return finish


def fire_of(convert: Converter, steps: Sequence[Step], complete: Complete | None, translate: Any) -> Fire:
    """Convert a text and put the value; ``complete`` and ``translate`` follow when pairs go beyond it."""
    last = steps[-1]
    if complete is None and translate is None and last.kind == "plain" and len(steps) == 1:
        return _plain_fire(convert, last.element)
    if complete is None and translate is None and last.kind == "choice" and len(steps) == 1:
        return _choice_fire(convert, last.element, compile_target(steps))
    return _fire(convert, assign_of(steps, complete, translate))


def assign_of(steps: Sequence[Step], complete: Complete | None, translate: Any) -> Assign:
    """Put a value; ``complete`` and ``translate`` follow."""
    put = compile_target(steps)
    if complete is None and translate is None:
        return put

    def assign(root: JsonObject, value: Any, context: Context) -> None:
        if translate is not None:
            context.own[id(value)] = value  # such a value is never remembered: pairs and map may change it
        item = put(root, value, context)
        if complete is not None:
            complete(item, context)
        if translate is not None:
            translate(value, context)

    return assign


def _fire(convert: Converter, assign: Assign) -> Fire:
    def fire(text: Any, root: JsonObject, context: Context) -> bool:
        try:
            value = convert(text, context)
        except Unfit as unfit:
            value = _unfit(unfit, context)
        if value is None:
            return False
        try:
            if type(value) is Several:
                for single in value:
                    assign(root, single, context)
                return bool(value)
            assign(root, value, context)
        except Conflict as conflict:
            _conflict(conflict.element, context)
        return True

    return fire


def _plain_fire(convert: Converter, name: str) -> Fire:
    """The most frequent kind: one element that takes one value."""

    def fire(text: Any, root: JsonObject, context: Context) -> bool:
        try:
            value = convert(text, context)
        except Unfit as unfit:
            value = _unfit(unfit, context)
        if value is None:
            return False
        if type(value) is Several:
            value = value[0] if value else None
        held = root.setdefault(name, value)
        if held is not value and held != value and not is_same(held, value):
            _conflict(name, context)
        return True

    return fire


def _choice_fire(convert: Converter, name: str, assign: Assign) -> Fire:
    """A choice element, whose type the value itself decides; ``assign`` is for several values."""
    elements: dict[str, str] = {}  # by type: FHIR has some fifty
    otherwise = _fire(lambda value, context: value, assign)

    def fire(text: Any, root: JsonObject, context: Context) -> bool:
        try:
            value = convert(text, context)
        except Unfit as unfit:
            value = _unfit(unfit, context)
        if value is None:
            return False
        if type(value) is Several:
            return otherwise(value, root, context)
        kind, made = value
        element = elements.get(kind)
        if element is None:
            element = elements[kind] = name + kind[0].upper() + kind[1:]
        held = root.setdefault(element, made)
        if held is not made and held != made:
            _conflict(name, context)
        return True

    return fire


def _unfit(unfit: Unfit, context: Context) -> Any:
    context.problems.append(Problem(unfit.severity, unfit.code, unfit.text))
    return unfit.kept


def _conflict(element: str, context: Context) -> None:
    text = f"{element} has another value already, which stays"
    context.problems.append(Problem("information", "duplicate", text))


def constant_fire(fire: Fire | None) -> Callable[[str, list[str], JsonObject, Any], bool]:
    """A row without converter: its default, always."""
    if fire is None:
        raise ValueError("as is empty and there is no constant")

    def run(raw: str, view: list[str], out: JsonObject, context: Any) -> bool:
        return fire("", out, context)

    return run


def fills_gap(rule: Rule) -> bool:
    """Whether a row's bare default says nothing about the patient: R4 wants a value and the source has none.

    That is so for one element when the row reads a field that yields nothing, or when a constant is
    ``unknown``. Every other constant is what the event itself states.
    """
    bare, _ = split_default(rule.default)
    if bare is None or not rule.target.isidentifier():
        return False
    return bool(rule.as_) or bare.rpartition("#")[2] == "unknown"


def gap_filling(element: str, fallback: Fire) -> Fire:
    """A default that notes what it filled, so that it never takes the place of something known."""

    def fire(text: Any, root: JsonObject, context: Context) -> bool:
        is_gap = element not in root
        done = fallback(text, root, context)
        if is_gap and done and context.build is not None:
            context.build.defaulted[element] = None
        return done

    return fire


def compile_map(as_: str, convert: Converter, concepts: ConceptMap) -> tuple[Converter, Any]:
    """A converter that translates, or one and what adds the translated coding to its value."""
    if as_ == "code":
        return _mapped_code(convert, concepts), None
    if as_.partition(".")[2].startswith("Coding"):
        return _mapped_coding(convert, concepts), None
    return convert, _adds_coding(concepts)


def _mapped_code(convert: Converter, concepts: ConceptMap) -> Converter:
    miss = f"the code is not in the map {concepts.name}"

    def translated(text: Any, context: Any) -> str | None:
        code = convert(text, context)
        if code is None:
            return None
        target = concepts.translate(code, context.named_system(text))
        if target is None:
            raise Unfit(miss, code="not-found")
        return target.code

    return translated


def _mapped_coding(convert: Converter, concepts: ConceptMap) -> Converter:
    miss = f"the code is not in the map {concepts.name}"

    def translated(text: Any, context: Context) -> JsonObject | None:
        coding: JsonObject | None = convert(text, context)
        if not coding or "code" not in coding:
            return coding
        target = concepts.translate(coding["code"], _system(coding))
        if target is None:
            raise Unfit(miss, code="not-found", kept=coding)
        return target.coding()

    return translated


def _system(coding: JsonObject) -> str | None:
    """The system of a coding; for a named but unregistered one a text that no map has."""
    return coding.get("system") or ("urn:unregistered" if "_system" in coding else None)


def _adds_coding(concepts: ConceptMap) -> Callable[[Any, Context], None]:
    """Puts the translated coding before the source codings, which stay."""
    miss = f"the code is not in the map {concepts.name}"
    own: dict[str, str] = {}
    for system, listed in concepts.rows:
        own.setdefault(listed, system)

    def translate(value: Any, context: Context) -> None:
        codings = value.get("coding")
        if not codings:
            return
        for coding in codings:
            code = coding.get("code")
            target = concepts.translate(code, _system(coding)) if code else None
            if target is not None:
                if own.get(code) and "system" not in coding and "_system" not in coding:
                    coding["system"] = own[code]  # the map has the code, so it is one of the map's own system
                for held in codings:
                    if held.get("code") == target.code and held.get("system") == target.system:
                        if target.display:
                            held.setdefault("display", target.display)
                        return
                codings.insert(0, target.coding())
                return
        context.problems.append(Problem("warning", "not-found", miss))

    return translate
