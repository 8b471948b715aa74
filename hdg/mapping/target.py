"""The ``target`` column: FHIR paths with labelled list items, parsed once and compiled to setters.

    path    := step ('.' step)*
    step    := element [bracket]
    bracket := '[]'  a new item each time             '[label]'  the item with that label, made on first touch
             | '[k]' the existing item k (pairs only) '[url]'    the extension with that url, made once
             | '[url][]'  a new extension with that url each time

``value[x]`` names a choice element whose type the value itself decides (Choice).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hdg.mapping.context import Choice, Conflict, Context, JsonObject, Listed, is_same

Put = Callable[[JsonObject, Any, Context], Any]
"""``(root, value, context) → item``: sets the value; gives the item that ``default`` pairs are relative to.
"""
Enter = Callable[[JsonObject, Context], JsonObject]

_ELEMENT: Final = re.compile(r"_?[A-Za-z][A-Za-z0-9]*")
SHORT: Final = 16
"""Items of a list that are compared one by one."""
_LABEL: Final = re.compile(r"[a-z][a-z0-9-]*")


class TargetError(ValueError):
    """The text is not a target path."""


@dataclass(frozen=True, slots=True)
class Step:
    """One element of a path. ``kind``: plain, new, label, index, url, new-url or choice; ``key``: what is
    in the bracket.
    """

    element: str
    kind: str = "plain"
    key: str = ""

    @property
    def is_list(self) -> bool:
        """Whether the step goes through a list."""
        return self.kind not in ("plain", "choice")


def parse_target(text: str) -> tuple[Step, ...]:
    """The steps of a path. Raises TargetError."""
    steps: list[Step] = []
    position = 0
    while True:
        match = _ELEMENT.match(text, position)
        if match is None:
            raise TargetError(f"expected an element name at {position + 1} in {text!r}")
        position = match.end()
        brackets: list[str] = []
        while text[position : position + 1] == "[":
            end = text.find("]", position)
            if end < 0:
                raise TargetError(f"a bracket is not closed in {text!r}")
            brackets.append(text[position + 1 : end])
            position = end + 1
        steps.append(_step(match.group(), brackets, text))
        if position == len(text):
            return tuple(steps)
        if text[position] != ".":
            raise TargetError(f"expected '.' at {position + 1} in {text!r}")
        position += 1


def _step(element: str, brackets: Sequence[str], text: str) -> Step:
    match brackets:
        case []:
            return Step(element)
        case [""]:
            return Step(element, "new")
        case ["x"]:
            return Step(element, "choice")
        case [url] if "://" in url or url.startswith("urn:"):
            return Step(element, "url", url)
        case [url, ""] if "://" in url:
            return Step(element, "new-url", url)
        case [index] if index.isdecimal():
            return Step(element, "index", index)
        case [label] if _LABEL.fullmatch(label):
            return Step(element, "label", label)
    raise TargetError(f"wrong bracket after {element!r} in {text!r}")


def compile_target(steps: Sequence[Step]) -> Put:
    """A setter for a path whose items are JSON objects or whose last step takes the value.

    A plain element that already holds a different value keeps it, and the setter raises Conflict.
    """
    *way, last = steps
    enters = tuple(
        _enter(step, ".".join(f"{s.element}{s.key}" for s in way[: i + 1])) for i, step in enumerate(way)
    )
    item_at = max((index for index, step in enumerate(way) if step.is_list), default=-1)
    final = _final(last, ".".join(f"{s.element}{s.key}" for s in steps))
    if not enters:
        return final
    if len(enters) == 1 and last.kind == "plain" and way[0].kind in ("plain", "label", "url"):
        return _plain_in(way[0], enters[0], last.element, f"{way[0].element}{way[0].key}")
    if len(enters) == 1:
        return _through_one(enters[0], final, is_item=item_at == 0, is_last_list=last.is_list)
    return _through(enters, final, item_at, is_last_list=last.is_list)


def _plain_in(outer: Step, enter: Enter, name: str, key: str) -> Put:
    """The most frequent path of two steps, in one closure: ``code.text``, ``name[n].family``,
    ``extension[url].valueString``.
    """
    element, kind, url = outer.element, outer.kind, outer.key

    def put(root: JsonObject, value: Any, context: Context) -> Any:
        node: JsonObject | None
        if kind == "label":
            node = context.labels.get(key)
            if node is not None and id(node) not in context.own:
                node = _own_labelled(root[element], node, context)
        elif kind == "plain":
            node = None if element in root else {}
            if node is not None:
                root[element] = context.own[id(node)] = node
        else:
            node = None
            items = root.get(element)
            if items is None or not _has_url(items, url):
                node = {"url": url, name: value}
                if items is None:
                    root[element] = [node]
                else:
                    items.append(node)
                context.own[id(node)] = node
                return node
        if node is None:
            node = enter(root, context)
        held = node.setdefault(name, value)
        if held is not value and held != value and not is_same(held, value):
            raise Conflict(name)
        return root if kind == "plain" else node

    return put


def _has_url(items: Sequence[JsonObject], url: str) -> bool:
    for item in items:  # noqa: SIM110  # any() over a generator costs three times as much
        if item.get("url") == url:
            return True
    return False


def _through_one(enter: Enter, final: Put, *, is_item: bool, is_last_list: bool) -> Put:
    def put(root: JsonObject, value: Any, context: Context) -> Any:
        node = enter(root, context)
        item = final(node, value, context)
        if is_last_list:
            return item
        return node if is_item else root

    return put


def _through(enters: tuple[Enter, ...], final: Put, item_at: int, *, is_last_list: bool) -> Put:
    def put(root: JsonObject, value: Any, context: Context) -> Any:
        node = item = root
        for index, enter in enumerate(enters):
            node = enter(node, context)
            if index == item_at:
                item = node
        found = final(node, value, context)
        return found if is_last_list else item

    return put


def _enter(step: Step, key: str) -> Enter:
    """Goes into an element, making what is missing."""
    name = step.element
    if step.kind == "plain":

        def plain(node: JsonObject, context: Context) -> JsonObject:
            child = node.get(name)
            if child is not None:
                return context.enter(node, name, child)  # type: ignore[no-any-return]  # JSON values are Any
            child = node[name] = {}
            context.own[id(child)] = child
            return child

        return plain
    if step.kind == "new":

        def new(node: JsonObject, context: Context) -> JsonObject:
            child: JsonObject = {}
            node.setdefault(name, []).append(child)
            context.own[id(child)] = child
            return child

        return new
    if step.kind == "label":

        def labelled(node: JsonObject, context: Context) -> JsonObject:
            child: JsonObject | None = context.labels.get(key)
            if child is None:
                child = context.labels[key] = {}
                node.setdefault(name, []).append(child)
                context.own[id(child)] = child
            elif id(child) not in context.own:
                child = _own_labelled(node[name], child, context)
            return child

        return labelled
    if step.kind == "index":
        return _enter_index(name, int(step.key))
    return _enter_url(name, step.key, is_new=step.kind == "new-url")


def _own_labelled(items: list[Any], shared: JsonObject, context: Context) -> JsonObject:
    """A copy of a labelled item that other resources have, too, in its place."""
    index = next(index for index, item in enumerate(items) if item is shared)
    mine: JsonObject = context.enter(items, index, shared)
    return mine


def _enter_index(name: str, index: int) -> Enter:
    def enter(node: JsonObject, context: Context) -> JsonObject:
        items = node.get(name)
        if not isinstance(items, list) or index >= len(items):
            raise LookupError(name)  # only pairs use an index, and they leave absent items alone
        return context.enter(items, index, items[index])  # type: ignore[no-any-return]  # JSON values are Any

    return enter


def _enter_url(name: str, url: str, *, is_new: bool) -> Enter:
    def enter(node: JsonObject, context: Context) -> JsonObject:
        items: list[JsonObject] = node.setdefault(name, [])
        if not is_new:
            for index, item in enumerate(items):
                if item.get("url") == url:
                    return context.enter(items, index, item)  # type: ignore[no-any-return]  # JSON values are Any
        child: JsonObject = {"url": url}
        items.append(child)
        context.own[id(child)] = child
        return child

    return enter


def _held(items: list[Any], value: JsonObject, context: Context) -> JsonObject | None:
    """The item of a list that equals a value. A report may have thousands of references: they are looked up."""
    if len(items) <= SHORT or len(value) != 1 or "reference" not in value:
        return items[items.index(value)] if value in items else None
    listed = context.listed.get(id(items))
    if listed is None:
        listed = context.listed[id(items)] = Listed(items)
    for item in items[listed.size :]:
        if len(item) == 1 and "reference" in item:
            listed.references.setdefault(item["reference"], item)
    listed.size = len(items)
    found = listed.references.get(value["reference"])
    return found if found == value else None


def _final(step: Step, key: str) -> Put:
    """Sets the last step."""
    name = step.element
    if step.kind == "plain":

        def plain(node: JsonObject, value: Any, context: Context) -> Any:
            held = node.setdefault(name, value)
            if held is not value and held != value and not is_same(held, value):
                raise Conflict(name)
            return node

        return plain
    if step.kind == "new":

        def new(node: JsonObject, value: Any, context: Context) -> Any:
            items = node.get(name)
            if items is None:
                node[name] = [value]
            elif not isinstance(value, dict):
                items.append(value)
            elif (held := _held(items, value, context)) is not None:
                return held  # two sources that say the same (ORC-2 and OBR-2) make one item
            else:
                items.append(value)
            return value

        return new
    if step.kind == "choice":
        elements: dict[str, str] = {}  # by type: FHIR has some fifty

        def choice(node: JsonObject, value: Any, context: Context) -> Any:
            kind = value.type
            element = elements.get(kind)
            if element is None:
                element = elements[kind] = name + kind[0].upper() + kind[1:]
            held = node.setdefault(element, value.value)
            if held is not value.value and held != value.value:
                raise Conflict(name)
            return node

        return choice
    enter = _enter(step, key)

    def merged(node: JsonObject, value: Any, context: Context) -> Any:
        item = enter(node, context)
        missing = []
        for element, part in value.items():
            held = item.get(element)
            if held is None:
                missing.append((element, part))
            elif held != part:
                raise Conflict(name)  # before anything is added: a system belongs to its own value
        for element, part in missing:
            item[element] = part.copy() if type(part) is list else part
        return item

    return merged


__all__ = ["Choice", "Enter", "Put", "Step", "TargetError", "compile_target", "parse_target"]
